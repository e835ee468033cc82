"""Every command and every configuration of the documents works as printed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
import trustme

from fastproxy.demo.configuration import Home
from fastproxy.demo.run import choose_port
from fastproxy.demo.visitor import upload
from tests.demo.town import application, town
from tests.docs.shell import ROOT, Block, blocks, environment, shell
from tests.service.running import eventually

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = blocks("sh", "console", "bash", "shell")
CONFIGURATIONS = blocks("toml")
(CONFIGURATION,) = [block.text for block in CONFIGURATIONS if block.document == "README.md"]

FORMS = [block for block in COMMANDS if block.document == "docs/forms.md"]  # test_forms.py
DEMO_COMMANDS = [b for b in COMMANDS if "curl" in b.text and b not in FORMS]
PREPARATION = next(block for block in COMMANDS if "fastproxy routes" in block.text)
SERVE = next(block for block in COMMANDS if block.text == "fastproxy serve\n")
BENCHMARK = next(block for block in COMMANDS if "benchmarks --quick" in block.text)
# tests/backend/test_sites.py and test_rack.py run these.
BACKENDS = [block for block in COMMANDS if block.document == "docs/backends.md"]
TUNING = [block for block in COMMANDS if block.document == "docs/tuning.md"]  # test_tuning.py
HERE = [*DEMO_COMMANDS, PREPARATION, SERVE, BENCHMARK, *BACKENDS, *TUNING, *FORMS]
# Blocks that no test runs, and why.
EXCEPTIONS = {
    "scripts/demo --port 8080\n": "test_demo.py runs what it starts; it installs packages",
    "scripts/test\n": "it is what runs this",
    "scripts/test -n 0 tests/docs/test_flow.py\n": "it is what runs this",
    "pip install .\n": "scripts/setup does the same; it needs a package index",
    "python -m tests.conformance.table\n": "wants nginx and HAProxy; test_table.py does our part",
    "python -m benchmarks --rounds 5\n": "takes minutes and measures; the quick one is run",
}


def test_every_command_is_run_here_or_excepted() -> None:
    unknown = [b for b in COMMANDS if b not in HERE and b.text not in EXCEPTIONS]
    assert unknown == []
    assert EXCEPTIONS.keys() <= {block.text for block in COMMANDS}


def test_commands_that_are_not_run_exist() -> None:
    for command in EXCEPTIONS:
        program = command.split()[0]
        assert os.access(ROOT / program, os.X_OK) or shutil.which(program) or program == "pip"


def test_the_ci_runs_the_command_of_the_readme() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert len(lines) == 2
    assert lines[1].endswith('/scripts/test"')
    assert "```sh\nscripts/test\n```" in README


def test_the_readme_lets_a_visitor_upload_to_the_demo(tmp_path: Path) -> None:
    with town() as home:
        answers = [
            shell(
                block.text.replace("8080", str(home.port)).replace("--limit-rate 2M", ""), tmp_path
            )
            for block in DEMO_COMMANDS
        ]
    assert [answer.returncode for answer in answers] == [0, 0], answers
    seen = json.loads(answers[0].stdout)
    (shown,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert shape(seen) == shape(json.loads(shown))
    assert seen["told"]["size"] == 50_000_000
    assert seen["bytes_this_application_read"] < 1000
    assert "An ordinary page" in answers[1].stdout
    assert answers[1].stdout.count('"size": 20000000') == 4


def shape(value: object) -> object:
    """The keys and kinds of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return type(value).__name__


def test_the_configuration_of_the_readme_serves_an_upload(tmp_path: Path) -> None:
    (tmp_path / "fastproxy.toml").write_text(CONFIGURATION)
    prepared = shell(PREPARATION.text, tmp_path)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert "fastproxy.toml: good" in prepared.stdout
    assert "=> upload: PUT http://127.0.0.1:3000/uploads/photo.bin/authorize" in prepared.stdout
    (tmp_path / "store").symlink_to("uploads")  # where the demo's application looks
    home = Home(tmp_path, choose_port(None))
    changes = {
        "FASTPROXY_SERVER__LISTEN": f"127.0.0.1:{home.port}",
        "FASTPROXY_SERVER__WORKERS": "1",
        "FASTPROXY_BACKEND__DEFAULT__ADDRESS": f"unix:{home.app_socket}",
    }
    with application(home), serving(home, changes):
        page = f"http://127.0.0.1:{home.port}/"
        eventually(lambda: b"ordinary" in urlopen(page, timeout=5).read(), "a page")
        assert json.loads(upload(home.port, "photo.bin", 3_000_001))["told"]["size"] == 3_000_001
        connection = HTTPConnection("127.0.0.1", home.port, timeout=20)
        connection.request("GET", "/uploads/photo.bin")
        assert len(connection.getresponse().read()) == 3_000_001
        connection.close()
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.stat().st_size > 4096] == []


@contextmanager
def serving(home: Home, changes: dict[str, str]) -> Iterator[None]:
    """`fastproxy serve` as printed, with `changes` in the environment."""
    process = subprocess.Popen(
        ["bash", "-c", "exec " + SERVE.text],
        cwd=home.path,
        env=environment(home.path, **changes),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_quick_benchmark_shows_a_table_and_draws_a_chart(tmp_path: Path) -> None:
    done = shell(BENCHMARK.text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    titles = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]
    assert titles[2:] == ["small request, access log"]
    assert "small request, access log (CPU us/request)" in (tmp_path / "figures.svg").read_text()


# -- configurations --------------------------------------------------------------------------------

REST = {
    "[auth]": '[auth]\nsecret_file = "/secret"\n',
    "[backend.default]": '[backend.default]\naddress = "http://127.0.0.1:3000"\n',
    "[store.default]": '[store.default]\ntype = "local"\npath = "/store"\n',
    "[[route]]": '[[route]]\naction = "upload"\npath = "/uploads/*"\n',
}
STATE = '[server]\nstate_dir = "/state"\n'
IDENTITY = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
FOLDERS = {"state_dir", "spill_dir", "root", "path", "archive_cache", "error_pages"}
FILES = {"secret_file", "access_key_file", "secret_key_file", "password_file"}
TLS_FILES = {"cert_file", "key_file", "ca_file", "client_ca_file"}


def completed(text: str, folder: Path) -> str:
    """The example with the tables it leaves out, and all it names made beneath `folder`."""
    for head, rest in REST.items():
        if head not in text:
            text += "\n" + rest
    if "[server]" not in text:
        text = STATE + text
    table, lines = "", []
    for line in text.splitlines():
        table = line.split("#")[0].strip() if line.startswith("[") else table
        found = re.match(r'"?([\w/]+)"? = \[?"(/?[\w/.-]+)"', line)
        if found and table.endswith(".locations]"):
            lines.append(line.replace(f'"{found[2]}"', f'"{make("root", found[2], folder)}"'))
        elif found and found[1] == "files":
            places = [str(make("root", name, folder)) for name in re.findall(r'"([^"]+)"', line)]
            lines.append(f"files = {json.dumps(places)}")
        elif found and not (found[1] == "path" and table == "[[route]]"):
            place = make(found[1], found[2], folder)
            lines.append(line.replace(f'"{found[2]}"', f'"{place}"'))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def make(key: str, value: str, folder: Path) -> Path | str:
    """What the key names, where it exists from now on; other keys keep their value."""
    place = folder / value.lstrip("/")
    if key in FOLDERS:
        place.mkdir(parents=True, exist_ok=True)
    elif key in TLS_FILES:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o600)
        IDENTITY.write_to_path(str(place))  # certificate and key in one, and its own authority
    elif key == "deploy_page":
        place.parent.mkdir(parents=True, exist_ok=True)
    elif key in FILES:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"k" * 32)
        place.chmod(0o600)
    else:
        return value
    return place


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: block.document)
def test_every_configuration_is_good(block: Block, tmp_path: Path) -> None:
    for module, name in re.findall(r'(?:handler|application) = "([\w.]+):(\w+)"', block.text):
        package, _, last = module.rpartition(".")
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"{last}.py").write_text(f"async def {name}(*given): ...\n")
    (tmp_path / "example.toml").write_text(completed(block.text, tmp_path))
    judged = shell("fastproxy check example.toml", tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_bad_configuration_would_be_seen(tmp_path: Path) -> None:
    text = completed('[[route]]\naction = "uplaod"\n', tmp_path)
    (tmp_path / "example.toml").write_text(text)
    assert shell("fastproxy check example.toml", tmp_path).returncode == os.EX_CONFIG


def test_the_chunker_of_the_readme_cuts_standard_input(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", program],
        input=b"x" * (20 << 20),
        capture_output=True,
        env=environment(tmp_path),
        timeout=60,
    )
    sizes = b"1 8388608\n2 8388608\n3 4194304\n"
    assert (result.returncode, result.stdout) == (0, sizes), result.stderr


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = document.read_text("utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            place = document.parent / target if target else document
            assert place.exists(), f"{document}: {target}"
            assert not anchor or anchor in anchors(place), f"{document}: {target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
