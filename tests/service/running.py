"""A running master for tests, and how to wait for things instead of sleeping."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.support.child import REPOSITORY, mortal

T = TypeVar("T")


def eventually(get: Callable[[], T], what: str, *, within: float = 20.0) -> T:
    """The first true result of `get`; an OSError counts as not yet."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError):
            if result := get():
                return result
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


class Reply:
    """What the fake application said: `pid`, `generation`, `greeting`."""

    def __init__(self, body: str) -> None:
        pid, generation, self.greeting = body.split(" ", 2)
        self.pid = int(pid)
        self.generation = int(generation)


def ask(path: Path, target: str) -> socket.socket:
    """A connection with one request on its way."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    except OSError:
        sock.close()
        raise
    return sock


def answer(sock: socket.socket) -> tuple[int, str]:
    """Status and body; raises ConnectionError when there was none."""
    with sock:
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    if not data:
        raise ConnectionResetError("closed without an answer")
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


class Running:
    """A master in a process of its own, listening on unix sockets in `home`."""

    def __init__(self, home: Path, **server: Any) -> None:
        self.home = home
        self.main = home / "main.sock"
        self.admin = home / "admin.sock"
        self.errors = home / "error.log"
        self.conf = home / "conf.json"
        self.server = {
            "listen": [f"unix:{self.main}"],
            "admin_listen": f"unix:{self.admin}",
            "workers": 1,
            **server,
        }
        self.log = {"access": "off", "error": str(self.errors)}
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, **more: Any) -> None:
        """Write the configuration; takes effect at start or reload."""
        self.conf.write_text(json.dumps({"server": self.server, "log": self.log, **more}))

    def start(self, env: dict[str, str] | None = None, stranger: str = "") -> None:
        """Start the master; `stranger`: a command of the shell, whose process is its child, too."""
        if not self.conf.exists():
            self.configure()
        command = [sys.executable, "-m", "tests.service.master_under_test", str(self.conf)]
        if stranger:
            command = ["sh", "-c", f'{stranger} & exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            mortal(command),
            cwd=REPOSITORY,
            env={**os.environ, **(env or {})},
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Signal the master."""
        os.kill(self.pid, number)

    def wait(self, within: float = 20.0) -> int:
        """The master's exit status."""
        assert self.process is not None
        return self.process.wait(within)

    def reply(self, target: str = "/") -> Reply:
        """One request to the application."""
        return Reply(answer(ask(self.main, target))[1])

    def admin_get(self, target: str) -> tuple[int, str]:
        """One request to the admin listener."""
        return answer(ask(self.admin, target))

    def metric(self, line_start: str) -> float:
        """The value of a series, written as in the exposition."""
        text = self.admin_get("/metrics")[1]
        return next(
            (float(li.rpartition(" ")[2]) for li in text.splitlines() if li.startswith(line_start)),
            0.0,
        )

    def until_ready(self) -> None:
        """All workers of the current generation are ready."""
        eventually(lambda: self._ready_workers() == self.server["workers"], "ready")

    def _ready_workers(self) -> int:
        status, body = self.admin_get("/readyz")
        return json.loads(body)["workers"]["ready"] if status == 200 else 0

    def reload(self) -> None:
        """SIGHUP, and wait for its result."""
        before = self._reloads()
        self.send(signal.SIGHUP)
        eventually(lambda: self._reloads() == before + 1, "reloaded")

    def _reloads(self) -> float:
        series = 'fastproxy_config_reloads_total{result="%s"}'
        return sum(self.metric(series % result) for result in ("ok", "failed"))

    def logged(self, text: str) -> bool:
        """Whether the error log holds `text`."""
        return text in self.errors.read_text()

    def children(self) -> list[int]:
        """The living children of the master."""
        return children(self.pid)


def children(pid: int) -> list[int]:
    """Living child processes, without zombies."""
    with contextlib.suppress(FileNotFoundError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found if is_alive(int(child))]
    return []


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_fds(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def running(
    home: Path, *, wait: bool = True, stranger: str = "", **server: Any
) -> Iterator[Running]:
    """A master that is gone, with all its children, when the block ends."""
    master = Running(home, **server)
    try:
        master.start(stranger=stranger)
        if wait:
            master.until_ready()
        yield master
    finally:
        if master.process is not None and master.process.poll() is None:
            family = [*children(master.pid), master.pid]
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            master.process.wait()
