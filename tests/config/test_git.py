"""What a [git] table and its routes must mean."""

from pathlib import Path

import pytest

from fastproxy.config.check import load_judged
from fastproxy.config.problems import ConfigProblems, Problem, Severity, show_key


def judged(
    tmp_path: Path, git: str, route: str = 'action = "git"', auth: bool = True
) -> list[Problem]:
    for name in ("repositories", "hooks"):
        (tmp_path / name).mkdir(exist_ok=True)
    secret = tmp_path / "secret"
    secret.write_bytes(b"k" * 32)
    secret.chmod(0o600)
    said = f'[auth]\nsecret_file = "{secret}"\n' if auth else ""
    text = f"""
{said}
[server]
state_dir = "{tmp_path}"
[limits]
connections = 10
[backend.default]
address = "http://127.0.0.1:3000"
[git]
{git}
[[route]]
{route}
"""
    (tmp_path / "f.toml").write_text(text.replace("HERE", str(tmp_path)))
    try:
        return load_judged(tmp_path / "f.toml", {})[1]
    except ConfigProblems as error:
        return list(error.problems)


ROOT = 'root = "HERE/repositories"\n'


def test_a_good_one_has_no_problem(tmp_path: Path) -> None:
    more = 'hooks = "HERE/hooks"\nconfig = { "pack.threads" = "1", "http.https://x/.proxy" = "" }\n'
    assert judged(tmp_path, ROOT + more) == []
    assert judged(tmp_path, ROOT + 'hooks = "repository"\n') == []


@pytest.mark.parametrize(
    ("git", "key", "message"),
    [
        ("", "git.root", "is required"),
        ('root = "HERE/absent"', "git.root", "does not exist"),
        (ROOT + 'program = "HERE/absent"', "git.program", "cannot be run"),
        (ROOT + 'hooks = "HERE/absent"', "git.hooks", "does not exist"),
        (ROOT + 'config = { threads = "1" }', "git.config.threads", "not the name of a setting"),
        (ROOT + "processes = 0", "git.processes", "is not between"),
    ],
)
def test_what_would_not_work_is_told(tmp_path: Path, git: str, key: str, message: str) -> None:
    (problem,) = judged(tmp_path, git)
    assert (show_key(problem.key), problem.severity) == (key, Severity.ERROR)
    assert message in problem.message


def test_a_git_route_needs_its_backend_the_secret_and_a_plain_suffix(tmp_path: Path) -> None:
    route = 'action = "git"\nbackend = "other"\nauthorize_suffix = "x y"\n'
    found = judged(tmp_path, ROOT, route, auth=False)
    errors = {show_key(problem.key) for problem in found if problem.severity is Severity.ERROR}
    assert errors == {"route[0].backend", "route[0].authorize_suffix", "auth.secret_file"}
    assert judged(tmp_path, ROOT, 'action = "git"\nauthorize_suffix = ""\n') == []


def test_a_table_that_nobody_uses_is_told(tmp_path: Path) -> None:
    (problem,) = judged(tmp_path, ROOT, 'action = "proxy"')
    assert (problem.key, problem.severity) == (("git",), Severity.WARNING)
