"""From file, environment and flags to one Config."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fastproxy.config.load import load
from fastproxy.config.overrides import Override
from fastproxy.config.problems import ConfigProblems, Problem
from fastproxy.config.schema import LocalStore, MiB, ProxyRoute, S3Store, UploadRoute

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "fastproxy.toml"
        path.write_text(text, "utf-8")
        return path

    return written


def problems(path: Path, env: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigProblems) as caught:
        load(path, env or {})
    return list(caught.value.problems)


def test_an_empty_file_is_all_defaults(write: Write) -> None:
    config = load(write(""), {})
    assert config.server.listen == ("127.0.0.1:8080",)
    assert config.route == ()


def test_every_kind_of_value_is_read(write: Write) -> None:
    config = load(
        write(
            '[server]\nlisten = [":1", "unix:/x"]\ndrain = "1.5s"\n'
            '[limits]\nbody = "3MiB"\n[memory]\nlow_water = 0\n'
            '[backend.app]\naddress = "http://h:1"\n'
            '[store.a]\ntype = "local"\npath = "/x"\nfsync = false\n'
            '[store.b]\ntype = "s3"\nbucket = "k"\npart_size = "16MiB"\n'
            '[[route]]\naction = "upload"\npath = "/up"\nhashes = ["md5"]\npart_size = "8MiB"\n'
            '[[route]]\naction = "proxy"\nbackend = "app"\n'
        ),
        {},
    )
    assert config.server.listen == (":1", "unix:/x")
    assert config.server.drain == 1.5
    assert config.limits.body == 3 * MiB
    assert config.memory.low_water == 0
    assert config.store == {
        "a": LocalStore(path="/x", fsync=False),
        "b": S3Store(bucket="k", part_size=config.store["b"].part_size),  # type: ignore[union-attr]
    }
    assert isinstance(config.route[0], UploadRoute)
    assert config.route[0].part_size == 8 * MiB
    assert isinstance(config.route[1], ProxyRoute)


def test_a_key_that_is_there_is_not_what_another_one_was_meant_to_be(write: Write) -> None:
    path = write('[[route]]\naction = "python"\npath = "/p"\nfunction = "shop:answer"\n')
    told = [problem.hint for problem in problems(path) if problem.message == "unknown key"]
    assert [hint.partition(":")[0] for hint in told] == ["known here"]


def test_all_problems_are_told_at_once_with_their_lines(write: Write) -> None:
    path = write(
        "[server]\n"
        'listn = ["x"]\n'
        'workers = "two"\n'
        "drain = 30\n"
        "[backend.default]\n"
        "[[route]]\n"
        'action = "proxi"\n'
        "[[route]]\n"
        'action = "proxy"\n'
        'buffer = "respones"\n'
    )
    told = [str(problem).removeprefix(f"{path}:") for problem in problems(path)]
    assert told == [
        '2: server.listn: unknown key (did you mean "listen"?)',
        '3: server.workers: expected whole number, got "two"',
        (
            '4: server.drain: 30 is not a duration: a duration needs its unit, e.g. "30s" '
            "(ms, s, m or h)"
        ),
        "5: backend.default.address: is missing",
        '7: route[0].action: unknown action "proxi" (did you mean "proxy"?)',
        (
            '10: route[1].buffer: "respones" is not one of none, request, response, both '
            '(did you mean "response"?)'
        ),
    ]


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("nonsense = 1", ("nonsense",), "unknown key"),
        ("server = 5", ("server",), "expected a table (write [server])"),
        ("backend = 5", ("backend",), "write [backend.NAME]"),
        ("[backend]\nx = 1\ny = 2", ("backend", "x"), "has a name: write [backend.default]"),
        ("[route]\naction = 'proxy'", ("route",), "expected a list of table (write [[route]])"),
        ("[[backend]]\nx = 1", ("backend",), "expected a table of table (write [backend.NAME])"),
        ("[[route]]\npath = '/'", ("route", 0, "action"), "is missing (one of: proxy, upload"),
        ("[[route]]\naction = 3", ("route", 0, "action"), 'unknown action "3"'),
        ("[[route]]\naction = ['x']", ("route", 0, "action"), "unknown action"),
        ("[store.a]\npath = '/'", ("store", "a", "type"), "one of: local, s3"),
        ("[server]\nlisten = 'x'", ("server", "listen"), 'e.g. listen = ["..."]'),
        ("[server]\nlisten = [1]", ("server", "listen", 0), "expected text, got 1"),
        ("[server]\nworkers = true", ("server", "workers"), "expected whole number, got true"),
        ("[server]\nworkers = 1.5", ("server", "workers"), "expected whole number"),
        ("[memory]\nbudget = 100", ("memory", "budget"), "a size needs its unit"),
        ("[memory]\nlow_water = 'x'", ("memory", "low_water"), "expected number"),
        ("[log]\nlevel = 5", ("log", "level"), "5 is not one of debug"),
        (
            "[[route]]\naction = 'proxy'\nbuffer = true",
            ("route", 0, "buffer"),
            "true is not one of none",
        ),
        (
            "[[route]]\naction = 'fixed'\nheaders = {a = 1}",
            ("route", 0, "headers", "a"),
            "expected text",
        ),
        ("route = [5]", ("route", 0), "expected a table"),
    ],
)
def test_each_broken_value_is_named(
    write: Write, text: str, key: tuple[str | int, ...], said: str
) -> None:
    (problem,) = problems(write(text))
    assert problem.key == key
    assert said in str(problem)
    assert problem.line is not None


def test_bad_toml_is_told_with_line_and_column(write: Write) -> None:
    path = write("[server]\nworkers = = 1\n")
    (problem,) = problems(path)
    assert (problem.line, problem.column) == (2, 11)
    assert str(problem) == f"{path}:2:11: not TOML: Invalid value (text needs quotes)"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[server]\nworkers = 1\n[server]\n", "put all into one [server]"),
        ("[route]\naction = 'proxy'\n[route]\n", "write [[route]] for each"),
        ("[backend.a]\n[backend.a]\n", ""),
    ],
)
def test_a_table_that_is_there_twice_is_told_how_to_mend(
    write: Write, text: str, hint: str
) -> None:
    (problem,) = problems(write(text))
    assert "twice" in problem.message
    assert problem.hint == hint


def test_an_unfinished_file_is_told_with_its_last_line(write: Write) -> None:
    (problem,) = problems(write('[server]\nlisten = ["a",'))
    assert problem.line == 2


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (missing,) = problems(tmp_path / "none.toml")
    assert "No such file" in missing.message
    assert "--config or $FASTPROXY_CONFIG" in missing.hint
    (tmp_path / "latin.toml").write_bytes(b"a = '\xff'")
    (latin,) = problems(tmp_path / "latin.toml")
    assert "is not UTF-8" in latin.message


def test_flag_wins_over_environment_over_file_over_default(write: Write) -> None:
    variable = {"FASTPROXY_SERVER__WORKERS": "3"}
    flag = Override(("server", "workers"), "4", "--workers")
    assert load(write(""), {}).server.workers == 1
    path = write("[server]\nworkers = 2\n")
    assert load(path, {}).server.workers == 2
    assert load(path, variable).server.workers == 3
    assert load(path, variable, [flag]).server.workers == 4


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("SERVER__LISTEN", ":1, :2", "server.listen", (":1", ":2")),
        ("SERVER__LISTEN", "", "server.listen", ()),
        ("SERVER__DRAIN", "5s", "server.drain", 5.0),
        ("MEMORY__BUDGET", "1GiB", "memory.budget", 1 << 30),
        ("MEMORY__LOW_WATER", "0.1", "memory.low_water", 0.1),
        ("LOG__LEVEL", "debug", "log.level", "debug"),
    ],
)
def test_variables_are_read_as_their_kind(
    write: Write, name: str, text: str, path: str, expected: object
) -> None:
    section, key = path.split(".")
    config = load(write(""), {f"FASTPROXY_{name}": text})
    assert getattr(getattr(config, section), key) == expected


def test_variables_reach_named_tables_and_make_new_ones(write: Write) -> None:
    path = write('[backend.My-App]\naddress = "http://old"\nmax_idle = 7\n')
    config = load(
        path,
        {
            "FASTPROXY_BACKEND__MY_APP__ADDRESS": "http://new",
            "FASTPROXY_STORE__DEFAULT__TYPE": "local",
            "FASTPROXY_STORE__DEFAULT__PATH": "/data",
            "FASTPROXY_STORE__DEFAULT__FSYNC": "false",
        },
    )
    assert config.backend["My-App"].address == "http://new"
    assert config.backend["My-App"].max_idle == 7
    assert config.store == {"default": LocalStore(path="/data", fsync=False)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FASTPROXY_SERVER__WRKERS", 'unknown key "wrkers" (did you mean "workers"?)'),
        ("FASTPROXY_SERVR__WORKERS", 'unknown key "servr" (did you mean "server"?)'),
        ("FASTPROXY_WORKERS", "did you mean FASTPROXY_SERVER__WORKERS?"),
        ("FASTPROXY_SERVER_WORKERS", "did you mean FASTPROXY_SERVER__WORKERS?"),
        ("FASTPROXY_NONSENSE", 'unknown key "nonsense" (known here: server, '),
        ("FASTPROXY_SERVER", "write FASTPROXY_SERVER__KEY"),
        ("FASTPROXY_SERVER__WORKERS__X", "write FASTPROXY_SERVER__KEY"),
        ("FASTPROXY_BACKEND__ADDRESS", "write FASTPROXY_BACKEND__NAME__KEY"),
        ("FASTPROXY_BACKEND__A__ADRESS", 'did you mean "address"?'),
        ("FASTPROXY_STORE__A__BUKET", 'did you mean "bucket"?'),
        ("FASTPROXY_ROUTE__0__PATH", "routes are set in the file only"),
    ],
)
def test_an_unknown_variable_is_a_problem(write: Write, name: str, said: str) -> None:
    (problem,) = problems(write(""), {name: "1"})
    assert str(problem).startswith(f"{name}: ")
    assert said in str(problem)


def test_a_bad_variable_is_named_instead_of_the_file(write: Write) -> None:
    (problem,) = problems(write("[server]\nworkers = 2\n"), {"FASTPROXY_SERVER__WORKERS": "x"})
    assert str(problem) == (
        'FASTPROXY_SERVER__WORKERS: server.workers: expected whole number, got "x"'
    )


@pytest.mark.parametrize(
    "name",
    [
        "FASTPROXY_SERVICE_HOST",
        "FASTPROXY_SERVICE_PORT",
        "FASTPROXY_SERVICE_PORT_HTTP",
        "FASTPROXY_PORT",
        "FASTPROXY_PORT_80_TCP",
        "FASTPROXY_PORT_80_TCP_ADDR",
        "FASTPROXY_ADMIN_PORT_9090_TCP_PROTO",
        "FASTPROXY_CONFIG",
        "PATH",
    ],
)
def test_what_kubernetes_and_others_set_is_no_problem(write: Write, name: str) -> None:
    load(write(""), {name: "tcp://10.0.0.1:80"})


def test_an_override_of_a_broken_table_keeps_the_report(write: Write) -> None:
    (problem,) = problems(write("server = 5"), {"FASTPROXY_SERVER__WORKERS": "2"})
    assert "expected a table" in problem.message
