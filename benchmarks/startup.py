"""How long a start takes: from exec to the first answer, and to import the chunker alone.

    python -m benchmarks.startup

One start that is not measured comes first, so that files are in the page cache and Python's byte
code is written. An editable install makes every interpreter slower to start: what users have is
measured with the Python of an environment that has a plain one.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.accounting import cpu_seconds, private_bytes
from benchmarks.peers import CONFIGURATIONS
from benchmarks.processes import (
    CORES,
    LOAD_CORE,
    end_on_sigterm,
    free_port,
    on_core,
    running,
    wait_for,
)
from benchmarks.question import OURS, Contestant, Need, Peer, Question, Site, Target
from benchmarks.runner import Runner
from benchmarks.table import table

ROUNDS = 9
POLL_S = 0.001
PATIENCE_S = 20.0
QUIET_S = 0.5  # so long without using CPU
IMPORTS = 5  # for one figure
# With the variable that some containers set, all modules would be compiled each time: 300 ms.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
GET = b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
BARE = "bare interpreter"


@contextmanager
def prepared(site: Site) -> Iterator[Peer]:
    """A configuration with two workers and a store in S3, started anew for every figure."""
    port = free_port()
    text = (CONFIGURATIONS / "startup.toml").read_text()
    for key, value in (("DIRECTORY", site.directory), ("ORIGIN", site.origin), ("PORT", port)):
        text = text.replace(f"@{key}@", str(value))
    (site.directory / "fastproxy.toml").write_text(text)
    for directory in ("state", "spill"):
        (site.directory / directory).mkdir()
    secret = site.directory / "secret"
    secret.write_bytes(b"s" * 48)
    secret.chmod(0o600)
    peer = Peer(OURS, port, 0, site.directory)
    first_answer(peer, 1.0)
    yield peer


@contextmanager
def started(peer: Peer) -> Iterator[int]:
    """It runs and has answered its first request; its pid."""
    command = [sys.executable, "-m", "fastproxy", "serve", "--config", "fastproxy.toml"]
    # Other questions pin the load, and so us, to one core; two workers want two.
    with (peer.directory / "output.log").open("wb") as output, on_core(*CORES):
        process = subprocess.Popen(
            command, cwd=peer.directory, env=ENVIRONMENT, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(peer.port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError((peer.directory / "output.log").read_text()[-2000:])
            time.sleep(POLL_S)
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(GET)
        return connection.recv(12) == b"HTTP/1.1 200"
    return False


def first_answer(peer: Peer, _scale: float) -> float:
    """Milliseconds from exec to the first answer."""
    begin = time.monotonic()
    with started(peer):
        return (time.monotonic() - begin) * 1e3


def first_cpu(peer: Peer, _scale: float) -> float:
    """CPU milliseconds of all processes until the first answer."""
    with started(peer) as pid:
        return cpu_seconds(pid) * 1e3


def whole_cpu(peer: Peer, _scale: float) -> float:
    """CPU milliseconds of all processes until nobody does anything any more."""
    with started(peer) as pid:
        return _until_quiet(pid) * 1e3


def memory(peer: Peer, _scale: float) -> float:
    """MiB of private memory of all processes, once nobody does anything any more."""
    with started(peer) as pid:
        _until_quiet(pid)
        return private_bytes(pid) / (1 << 20)


def _until_quiet(pid: int) -> float:
    """CPU seconds when they stay (nearly) the same."""
    before = -1.0
    while (used := cpu_seconds(pid)) > before + QUIET_S / 100:
        before = used
        time.sleep(QUIET_S)
    return used


STARTERS = (Contestant(OURS, prepared),)
IMPORTED = {
    OURS: "import fastproxy.chunker",
    BARE: "pass",
    "s3transfer": "import s3transfer.upload",
    "smart_open": "import smart_open.s3",
    "asyncio": "import asyncio",
}


def importing(peer: Peer, _scale: float) -> float:
    """CPU milliseconds of an import in a fresh interpreter, beyond those of a bare interpreter."""
    bare, found = [], []
    for _ in range(IMPORTS):
        bare.append(_interpreter_cpu(IMPORTED[BARE]))
        found.append(_interpreter_cpu(IMPORTED[peer.name]))
    if peer.name == BARE:
        return statistics.median(bare)
    return statistics.median(found) - statistics.median(bare)


def _interpreter_cpu(code: str) -> float:
    command = [sys.executable, "-c", code]
    _, status, used = os.wait4(os.posix_spawn(command[0], command, ENVIRONMENT), 0)
    if status:
        raise RuntimeError(f"python -c {code!r} failed")
    return (used.ru_utime + used.ru_stime) * 1e3


@contextmanager
def importable(name: str, site: Site) -> Iterator[Peer]:
    """A contestant that is nothing but an import."""
    yield Peer(name, 0, 0, site.directory)


IMPORTERS = tuple(
    Contestant(name, partial(importable, name), (Need(name, pypi=name.replace("_", "-")),))
    if name in ("s3transfer", "smart_open")
    else Contestant(name, partial(importable, name))
    for name in IMPORTED
)

QUESTIONS = (
    Question("start with two workers: first answer", "ms", first_answer, STARTERS, (Target(300),)),
    Question("start with two workers: until the first answer", "CPU ms", first_cpu, STARTERS),
    Question("start with two workers: until all is quiet", "CPU ms", whole_cpu, STARTERS),
    Question("start with two workers: private memory", "MiB", memory, STARTERS, rounds=1),
    Question("import of the chunker", "CPU ms", importing, IMPORTERS, (Target(10),)),
)


def main() -> None:
    """Ask these questions alone."""
    end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name:
        directory, origin = Path(name), free_port()
        log = directory / "origin.log"
        command = [sys.executable, "-m", "benchmarks.origin", str(origin)]
        with running(command, LOAD_CORE, log):
            wait_for(origin, log)
            findings = Runner(directory, origin, ROUNDS, 1.0).ask_all(QUESTIONS)
    print(table(findings))


if __name__ == "__main__":
    main()
