"""`fastproxy demo`, as a user runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastproxy.demo import run
from fastproxy.demo.children import ChildEnded, Children
from tests.service.running import REPOSITORY, children, eventually, is_alive


@contextmanager
def demo(*flags: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command and the directory in which it makes its own; killed if it does not end."""
    with tempfile.TemporaryDirectory(prefix="fp-") as path:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastproxy", "demo", *flags],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": path, "FASTPROXY_SERVER__LISTEN": "not for the demo"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, Path(path)
        finally:
            if process.poll() is None:
                for pid in [*family(process.pid), process.pid]:
                    os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=20)


def family(pid: int) -> list[int]:
    """All living descendants."""
    return [each for child in children(pid) for each in (child, *family(child))]


def test_once_uploads_a_file_shows_the_answer_and_leaves_nothing() -> None:
    with demo("--once") as (process, folder):
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        answer = json.loads(output[output.index("{\n") : output.index("\n}") + 2])
        assert answer["told"]["size"] == 50_000_000
        assert answer["bytes_this_application_read"] < 1000
        assert list(folder.glob("fastproxy-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_and_removes_the_files(number: signal.Signals) -> None:
    with demo() as (process, folder):
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        processes = family(process.pid)
        assert len(processes) >= 7  # two masters, their four workers, and the admin process
        assert list(folder.glob("fastproxy-demo-*/app.sock"))
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert "nothing is left behind" in output
        assert not any(is_alive(pid) for pid in processes)
        assert list(folder.glob("fastproxy-demo-*")) == []


def test_a_demo_whose_application_dies_says_so_and_ends() -> None:
    with demo() as (process, folder):
        eventually(lambda: list(folder.glob("*/app.sock")), "the application")
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            assert process.poll() is None
        (gunicorn,) = (pid for pid in children(process.pid) if b"gunicorn" in command(pid))
        os.kill(gunicorn, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "gunicorn ended with status -9" in errors
        assert list(folder.glob("fastproxy-demo-*")) == []


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run.run_demo(port) == 1
    assert f"port {port} is taken" in capsys.readouterr().err


def test_a_number_that_is_no_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.run_demo(70_000) == 1
    assert "70000 is not a port" in capsys.readouterr().err


def test_without_gunicorn_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    assert run.run_demo() == 1
    assert "pip install gunicorn" in capsys.readouterr().err


def test_a_child_that_ends_is_noticed_while_waiting(tmp_path: Path) -> None:
    family = Children(tmp_path)
    try:
        family.start("sleeper", ["sleep", "60"])
        family.check()
        family.start("brief", ["sh", "-c", "echo said; exit 3"], tmp_path / "log")
        with pytest.raises(ChildEnded, match="brief ended with status 3"):
            family.wait()
    finally:
        family.end()
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_child_that_is_deaf_is_killed_with_its_own_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastproxy.demo.children.PATIENCE_S", 0.05)
    family = Children(tmp_path)
    script = "trap '' INT; sleep 60 & echo $! >pid.part; mv pid.part pid; wait"
    try:
        family.start("deaf", ["sh", "-c", script])
        pid = int(eventually((tmp_path / "pid").read_text, "its child"))
        assert is_alive(pid)
    finally:
        family.end()
    eventually(lambda: not is_alive(pid), "the end of its child")
