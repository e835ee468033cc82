"""A real fastproxy, started as its users start it, from the text of a configuration."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accounting import resident_bytes
from tests.support.child import REPOSITORY, mortal
from tests.support.client import Client, Reply
from tests.support.ports import free_port
from tests.support.waiting import eventually

# What a program that survived its own bug still says.
_SIGNS_OF_BUGS = (
    "Traceback",
    "Exception in callback",
    "Fatal error",
    "never retrieved",
    "never awaited",
    "bug in",
    "exception",
)


class Proxy:
    """A running fastproxy, with one worker unless told otherwise.

    `port` and `unix_path` lead to the same routes.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.admin_port = free_port()
        self.unix_path = str(home / "front.sock")
        self.config_path = home / "fastproxy.toml"
        self.access_log = home / "access.log"
        self.error_log = home / "error.log"
        self.stderr = home / "stderr"
        self.expected_errors: tuple[str, ...] = ()  # signs of bugs that a test provokes
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, text: str) -> None:
        """Write the configuration: `text` and what this harness must set.

        `text` may have a [server] table; keys that the harness sets come before it. What it calls
        PORT is the port.
        """
        text = text.replace("PORT", str(self.port))
        server = (
            "[server]\n"
            f'listen = ["127.0.0.1:{self.port}", "unix:{self.unix_path}"]\n'
            f'admin_listen = "127.0.0.1:{self.admin_port}"\n'
        )
        text = text.replace("[server]\n", server, 1) if "[server]\n" in text else server + text
        log = f'\n[log]\naccess = "{self.access_log}"\nerror = "{self.error_log}"\n'
        self.config_path.write_text(text + ("" if "[log]" in text else log))

    def start(self, env: dict[str, str] | None = None) -> None:
        """Start, and wait until it is ready."""
        with self.stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                mortal(
                    [sys.executable, "-m", "fastproxy", "serve", "--config", str(self.config_path)]
                ),
                cwd=REPOSITORY,
                stdout=stderr,
                stderr=stderr,
                env={**os.environ, "PYTHONASYNCIODEBUG": "", **(env or {})},
            )
        eventually(self._is_ready, f"ready: {self.config_path.read_text()}", within=30)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        with Client(("127.0.0.1", self.admin_port)) as client:
            return client.get("/readyz").status == 200

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The master."""
        assert self._process is not None
        return self._process

    @property
    def workers(self) -> list[int]:
        """The workers' pids."""
        pid = self.process.pid
        found = []
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if self.port in listening_ports(child):
                    found.append(child)
        return found

    @property
    def worker(self) -> int:
        """The first worker's pid."""
        workers = self.workers
        assert workers, "no worker"
        return workers[0]

    def rss(self) -> int:
        """Resident bytes of the worker."""
        return resident_bytes(self.worker)

    def descriptors(self) -> int:
        """Open descriptors of the worker."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def client(self, **options: Any) -> Client:
        """A new connection over TCP."""
        return Client(("127.0.0.1", self.port), **options)

    def unix_client(self, **options: Any) -> Client:
        """A new connection over the unix socket."""
        return Client(self.unix_path, **options)

    def get(self, target: str = "/", **options: Any) -> Reply:
        """One GET on a connection of its own."""
        with self.client() as client:
            return client.get(target, **options)

    def metric(self, series: str) -> float:
        """The value of a series, written as in the exposition; 0 when it is not there."""
        with Client(("127.0.0.1", self.admin_port)) as client:
            text = client.get("/metrics", fields="Connection: close\r\n").body.decode()
        lines = (line for line in text.splitlines() if line.startswith(series + " "))
        return next((float(line.rpartition(" ")[2]) for line in lines), 0.0)

    def connections(self) -> int:
        """Client connections, as the worker counts them."""
        return int(self.metric("fastproxy_connections"))

    def logged(self, count: int = 0) -> list[dict[str, Any]]:
        """The access log; waits until it has `count` lines."""
        eventually(lambda: len(self._lines()) >= count, f"{count} lines in the access log")
        return [json.loads(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        return self.access_log.read_bytes().splitlines() if self.access_log.exists() else []

    def said(self) -> str:
        """Standard output, standard error and the error log."""
        logs = (self.stderr, self.error_log)
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def stop(self) -> None:
        """End it, and fail if it had trouble that nobody saw."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop: {self.said()}") from None
        said = self.said()
        found = [sign for sign in _SIGNS_OF_BUGS if sign in said]
        assert set(found) <= set(self.expected_errors), said


def listening_ports(pid: int) -> set[int]:
    """TCP ports on which a process listens."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            inodes.add(link.removeprefix("socket:[").removesuffix("]"))
    lines = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {int(f[1].split(":")[1], 16) for f in lines if f[3] == "0A" and f[9] in inodes}


@contextlib.contextmanager
def proxy(text: str, *, env: dict[str, str] | None = None) -> Iterator[Proxy]:
    """A fastproxy that runs `text`, and is gone, with nothing odd said, when the block ends."""
    with tempfile.TemporaryDirectory(prefix="fp-") as home:
        running = Proxy(Path(home))
        running.configure(text)
        try:
            running.start(env)
            yield running
        finally:
            running.stop()


def to_backend(address: str, backend: str = "", limits: str = "", server: str = "") -> str:
    """The plain configuration: everything goes to one backend. The rest are lines of TOML."""
    return f"""
[server]
{server}
[limits]
{limits}
[backend.default]
address = "{address}"
{backend}
[[route]]
path = "/ws/**"
action = "proxy"
websocket = true
name = "sockets"
[[route]]
action = "proxy"
name = "all"
"""
