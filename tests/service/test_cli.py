"""The command line."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastproxy import __version__
from fastproxy.config.problems import ConfigProblems, Problem
from fastproxy.config.schema import Config
from fastproxy.service import serve_command
from fastproxy.service.cli import main

FILE = """
[limits]
connections = 10
[memory]
spill_budget = "0B"
[auth]
secret_file = "{dir}/secret"
[backend.default]
address = "http://127.0.0.1:3000"
[store.default]
type = "s3"
bucket = "b"
[server]
state_dir = "{dir}"
[[route]]
action = "upload"
name = "files"
path = "/files/*"
max_size = "1GiB"
[[route]]
action = "fixed"
path = "/gone"
status = 410
host = "old.example"
methods = ["GET"]
[[route]]
action = "proxy"
path = "/app/**"
max_body = "1KiB"
"""

UPLOADED = (
    "=> upload: PUT http://127.0.0.1:3000/files/a%20b/authorize, then parts of 8MiB to store "
    '"default", s3 bucket b (at most 1GiB), then the report: PUT http://127.0.0.1:3000/files/a%20b'
)

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FASTPROXY_CONFIG", raising=False)
    (tmp_path / "secret").write_bytes(b"k" * 32)
    (tmp_path / "secret").chmod(0o600)
    path = tmp_path / "proxy.toml"
    path.write_text(FILE.format(dir=tmp_path))
    return path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def said(*words: object) -> tuple[int, str]:
        code = main([str(word) for word in words])
        return code, capsys.readouterr().out

    return said


def test_check_shows_routes_and_memory_of_a_good_file(file: Path, say: Say) -> None:
    code, out = say("check", file)
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split() == [
        *["0", "PUT,POST", "any", "/files/*", "upload:"],
        *["http://127.0.0.1:3000/files/*/authorize,", "then", "parts", "of", "8MiB", "to", "store"],
        *['"default",', "s3", "bucket", "b", "(at", "most", "1GiB),", "then", "the", "report:"],
        "http://127.0.0.1:3000/files/*",
    ]
    assert lines[2].split()[:5] == ["1", "GET,HEAD", "old.example", "/gone", "fixed:"]
    assert "memory, at worst:" in lines
    assert "10 clients x 240KiB" in out
    assert lines[-1] == f"{file}: good"


def test_check_shows_all_problems_and_exits_with_ex_config(file: Path, say: Say) -> None:
    text = file.read_text().replace("[limits]", "[limits]\nboddy = 5").replace("410", '"410"')
    file.write_text(text)
    code, out = say("check", file)
    assert code == 78
    assert f'{file}:3: limits.boddy: unknown key (did you mean "body"?)' in out
    assert 'route[1].status: expected whole number, got "410"' in out
    assert out.endswith("2 errors\n")


def test_check_tells_warnings_and_still_succeeds(file: Path, say: Say) -> None:
    (file.parent / "secret").chmod(0o644)
    code, out = say("check", "--config", file)
    assert code == 0
    assert ": warning: auth.secret_file:" in out
    assert out.endswith("good, 1 warning\n")


def test_check_of_no_file_names_it(tmp_path: Path, say: Say) -> None:
    code, out = say("check", tmp_path / "none.toml")
    assert code == 78
    assert "none.toml: cannot be read: No such file or directory (name the file with --c" in out


def test_the_file_may_be_named_by_the_environment(
    file: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTPROXY_CONFIG", str(file))
    assert say("check")[0] == 0


def test_a_bad_flag_is_named_by_check(file: Path, say: Say) -> None:
    code, out = say("check", file, "--workers", "many")
    assert code == 78
    assert out.startswith('--workers: server.workers: expected whole number, got "many"')


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["PUT", "/files/a%20b?x=1"],
            0,
            UPLOADED,
        ),
        (["PUT", "/files/a%20b"], 0, "decoded path: /files/a b"),
        (["GET", "/files/a"], 1, "=> 405, Allow: PUT, POST"),
        (["GET", "/files/a"], 1, 'route[0] "files" /files/*: another method (takes PUT, POST)'),
        (["GET", "/nowhere"], 1, "=> 404: no route"),
        (["GET", "/gone"], 1, 'route[1] "/gone" /gone: another host (takes "old.example")'),
        (["GET", "/gone", "--host", "OLD.example:80"], 0, "=> fixed: answer 410 with 0 bytes"),
        (["GET", "/gone", "--header", "host: old.example"], 0, "=> fixed: answer 410"),
        (["PUT", "/files/%zz"], 1, "=> 400: target has a broken %-escape"),
        (["PUT", "/files/a%2fb"], 1, "=> 400: path reads as"),
        (["PUT", "/files/a%2fb"], 1, "as a server might read it: /files/a/b"),
        (["PUT", "/app/x"], 0, "=> proxy: PUT http://127.0.0.1:3000/app/x, bodies up to 1KiB"),
        (["PUT", "/app/x", "--header", "Content-Length: 1025"], 1, "413: the body is larger"),
        (["PUT", "/app/x", "--header", "Upgrade: websocket"], 0, "does not pass it on"),
    ],
)
def test_routes_test_tells_what_would_happen(
    file: Path, say: Say, words: list[str], code: int, said: str
) -> None:
    found, out = say("routes", "test", *words, "--config", file)
    assert said in out
    assert found == code


def test_routes_test_says_that_a_backend_is_missing(file: Path, say: Say) -> None:
    file.write_text(file.read_text().replace("[backend.default]", "[backend.other]"))
    code, out = say("routes", "test", "PUT", "/app/x", "-c", file)
    assert code == 78
    assert '=> proxy: PUT /app/x to backend "default", which is missing' in out
    assert out.endswith(
        ': route[2].backend: backend "default" does not exist (known here: other)\n'
    )
    assert "route[0]" not in out.partition("=>")[2]  # wrong in the same way, but not asked about
    assert say("routes", "test", "GET", "/gone", "--host", "old.example", "-c", file)[0] == 0


def test_routes_test_needs_a_file_that_loads(tmp_path: Path, say: Say) -> None:
    assert say("routes", "test", "GET", "/", "-c", tmp_path / "none")[0] == 78


def test_check_takes_one_file_only(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", file, "--config", file], ["check", "-c", file, file]):
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert "not allowed with argument" in err
        assert "--config/-c" in err


@pytest.mark.parametrize("words", [[], ["serve", "--workers"], ["what"], ["routes", "test", "GET"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastproxy")


def test_version_is_a_flag_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fastproxy {__version__}\n"


def test_schema_is_json(say: Say) -> None:
    code, out = say("schema")
    assert code == 0
    assert "limits" in json.loads(out)["properties"]


def test_serve_loads_again_with_the_same_flags(
    file: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Config] = []

    def run_master(load: Callable[[], Config]) -> int:
        loaded.append(load())
        file.write_text(file.read_text().replace("connections = 10", "connections = 11"))
        loaded.append(load())
        return 5

    monkeypatch.setattr(serve_command, "run_master", run_master)
    monkeypatch.setenv("FASTPROXY_LOG__LEVEL", "error")
    monkeypatch.setenv("FASTPROXY_SERVER__WORKERS", "2")
    code, _ = say(
        *["serve", "--config", file, "--workers", 3, "--listen", ":1", "--listen", "unix:/x"]
    )
    assert code == 5
    assert [config.limits.connections for config in loaded] == [10, 11]
    for config in loaded:
        assert config.server.workers == 3
        assert config.server.listen == (":1", "unix:/x")
        assert config.log.level == "error"


def test_serve_refuses_a_bad_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_master(load: Callable[[], Config]) -> int:
        load()
        raise AssertionError("a bad configuration was loaded")

    monkeypatch.setattr(serve_command, "run_master", run_master)
    (tmp_path / "f.toml").write_text("[server]\nlisten = ['x']\n[limits]\nconnections = 0\n")
    assert main(["serve", "--config", str(tmp_path / "f.toml")]) == 78
    err = capsys.readouterr().err
    assert f"fastproxy: {tmp_path}/f.toml:2: server.listen[0]:" in err
    assert f"fastproxy: {tmp_path}/f.toml:4: limits.connections:" in err


def test_warnings_are_logged_so_that_those_of_a_reload_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run_master(load: Callable[[], Config]) -> int:
        load()
        return 0

    monkeypatch.setattr(serve_command, "run_master", run_master)
    (tmp_path / "f.toml").touch()
    assert main(["serve", "--config", str(tmp_path / "f.toml")]) == 0
    assert "f.toml: warning: route: no routes" in caplog.text


def test_a_start_that_fails_says_so_on_the_terminal_whatever_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = tmp_path / "fastproxy.toml"
        file.write_text(
            f'[server]\nlisten = ["{address}"]\n[log]\nerror = "{tmp_path}/error.log"\n'
        )
        served = subprocess.run(
            [sys.executable, "-m", "fastproxy", "serve", "-c", file],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert served.returncode == 1
    assert f"fastproxy: cannot start: cannot listen on {address}" in served.stderr


def test_the_module_is_the_command_and_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from fastproxy.service.cli import main; main(['version']);"
        "print([m for m in ('uvloop', 'httptools', 'aioboto3', 'msgspec', 'asyncio')"
        " if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    version, heavy = found.stdout.splitlines()
    assert version.startswith(f"fastproxy {__version__}, Python 3.")
    assert ", uvloop " in version
    assert ", httptools " in version
    assert heavy == "[]"
    module = subprocess.run(
        [sys.executable, "-m", "fastproxy", "version"], capture_output=True, text=True, check=True
    )
    assert module.stdout.splitlines() == [version]


def test_nobody_looks_for_garbage_in_what_a_start_imports() -> None:
    probe = (
        "import gc; from fastproxy.service.cli import main; generations = set();"
        "gc.callbacks.append(lambda _, info: generations.add(info['generation']));"
        "main(['serve', '-c', '/does/not/exist']);"
        "print(generations - {0}, gc.get_freeze_count() > 10_000, gc.isenabled())"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["set()", "True", "True"]


def test_a_reader_that_leaves_early_is_no_crash() -> None:
    found = subprocess.run(
        f"{sys.executable} -m fastproxy schema | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (found.stdout, found.stderr) == ("{", "")


def test_problems_are_one_error_with_all_lines() -> None:
    error = ConfigProblems([Problem(("a", 1), "bad", "mend it", line=3, origin="f")])
    assert str(error) == "f:3: a[1]: bad (mend it)"


@pytest.mark.parametrize(
    ("path", "headers", "said"),
    [
        ("/jobs", {}, "=> poll: held up to 50s, then POST http://127.0.0.1:3000/jobs"),
        ("/jobs", {"Content-Length": "40000"}, "413: the body is larger than 32KiB"),
        ("/busy", {}, "=> fixed: answer 200 with 0 bytes, 3 at once"),
        (
            "/shell",
            {"Upgrade": "websocket"},
            "=> channel: GET http://127.0.0.1:3000/shell/authorize, then a WebSocket",
        ),
        ("/shell", {"Upgrade": "websocket"}, "websocket: passed on"),
    ],
)
def test_routes_test_tells_of_what_waits(
    file: Path, say: Say, path: str, headers: dict[str, str], said: str
) -> None:
    waiting = """
[redis]
url = "redis://127.0.0.1:6379/0"
[[route]]
action = "proxy"
path = "/jobs"
[route.poll]
key = "json:token"
last = "json:seen"
[[route]]
action = "fixed"
path = "/busy"
[route.queue]
at_once = 3
[[route]]
action = "channel"
path = "/shell"
"""
    file.write_text(file.read_text() + waiting)
    words = [word for each in headers.items() for word in ("--header", ": ".join(each))]
    _, out = say("routes", "test", "POST", path, *words, "--config", file)
    assert said in out
