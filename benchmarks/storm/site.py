"""What the storm breaks over: fastproxy with its workers, a store and an application behind it."""

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.accounting import family
from benchmarks.processes import free_port, wait_for

END_S: Final = 20.0

_CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
admin_listen = "127.0.0.1:{admin}"
workers = {workers}
state_dir = "{home}/state"

[limits]
connections = 19000

[memory]
budget = "{budget_mib}MiB"
spill_dir = "{spill}"
spill_budget = "8GiB"

[log]
access = "{home}/access.log"
error = "{home}/error.log"

[auth]
secret_file = "{home}/secret"

[backend.default]
address = "http://127.0.0.1:{backend}"
max_connections = 64
queue = 20000

[store.default]
type = "s3"
bucket = "storm"
endpoint = "http://127.0.0.1:{sink}"
access_key_file = "{home}/secret"
secret_key_file = "{home}/secret"

[[route]]
action = "upload"
path = "/uploads/*"
hashes = ["sha256"]

[[route]]
action = "proxy"
path = "/**"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Everything is on 127.0.0.1. `pid` is fastproxy's master."""

    home: Path
    pid: int
    port: int
    admin: int
    sink: int

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return "127.0.0.1", self.port

    def metrics(self) -> dict[str, float]:
        """Every series by its name and labels, without those that are no number."""
        lines = _get(self.admin, "/metrics").splitlines()
        rows = (line.rpartition(" ") for line in lines if line and line[0] != "#")
        return {name: float(value) for name, _, value in rows}

    def stored(self) -> dict[str, str]:
        """What the store judges of each object, by the name of its body."""
        rows = (line.split(" ") for line in _get(self.sink, "/-/objects").splitlines())
        return {key.rpartition("/")[2]: judgement for key, _, judgement in rows}

    def store_stats(self) -> dict[str, int]:
        """See benchmarks/sink.py."""
        found: dict[str, int] = json.loads(_get(self.sink, "/-/stats"))
        return found


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return str(answer.read().decode())


@contextmanager
def site(home: Path, spill: Path, workers: int, budget_mib: int) -> Iterator[Site]:
    """All of it, started and stopped. Raises RuntimeError when something does not start."""
    port, admin, sink, backend = (free_port() for _ in range(4))
    (home / "state").mkdir(mode=0o700)
    secret = home / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    config = home / "fastproxy.toml"
    config.write_text(_CONFIG.format(**locals()))
    with ExitStack() as stack:

        def start(listens: int, *module: str) -> int:
            log = home / f"{module[0]}.out"
            pid = stack.enter_context(_running([sys.executable, "-m", *module], log))
            wait_for(listens, log)
            return pid

        start(sink, "benchmarks.sink", str(sink))
        start(backend, "benchmarks.storm.backend", str(backend))
        pid = start(port, "fastproxy", "serve", "--config", str(config))
        yield Site(home, pid, port, admin, sink)


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[int]:
    """A process and its pid; in the end SIGTERM, then SIGKILL to all that it started.

    Who is told to end before the storm is over is not left the time to drain.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process.pid
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    finally:
        if process.poll() is None:
            for pid in reversed(family(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
