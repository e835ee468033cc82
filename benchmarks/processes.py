"""Processes under measurement: started pinned to a core, ended by pid, accounted by the kernel."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

START_S = 15.0
# The first that we may use; `taskset -c 2,3 python -m benchmarks` chooses others. With two of them
# the load and the backend share one.
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE, ORIGIN_CORE = (CORES[min(n, len(CORES) - 1)] for n in range(3))
CORES_USED = {PROXY_CORE, LOAD_CORE, ORIGIN_CORE}


def end_on_sigterm() -> None:
    """Let SIGTERM unwind this process, and those forked from it: what was started ends, too."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.randrange(10_000, 32_000)  # below those that clients are given meanwhile
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """The calling thread, and whatever it starts meanwhile, is on this core, or one of these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM come when the block ends: what it starts is not lost on its way to us.

    Handlers run in the main thread alone; any other is undisturbed anyway.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def output_of(command: Sequence[str], core: int) -> str:
    """Run `command` on `core` to its end; all that it wrote.

    Whoever is interrupted meanwhile has ended it and waited for it: subprocess.run() only kills.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with _undisturbed(), on_core(core):
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        return process.communicate()[0]
    finally:
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@contextmanager
def running(command: Sequence[str], core: int, log: Path) -> Iterator[int]:
    """Run `command` on `core`; its pid. Ended with SIGTERM, then SIGKILL."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as output, _undisturbed(), on_core(core):
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        yield process.pid
    finally:
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        for pid in reversed(family(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()


def wait_for(port: int, log: Path) -> None:
    """Until something answers HTTP on `port`. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 1) as connection,
        ):
            connection.settimeout(2)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            if connection.recv(12).startswith(b"HTTP/1."):
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers on port {port}: {log.read_text()[-2000:]}")


def family(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for task in _tasks(pid):
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += family(int(child))
    return found


def _tasks(pid: int) -> list[str]:
    with suppress(OSError):
        return os.listdir(f"/proc/{pid}/task")
    return []


def cpu_seconds(pid: int) -> float:
    """CPU that the whole family has used, to the nanosecond where the kernel tells it."""
    total = 0
    for member in family(pid):
        for task in _tasks(member):
            with suppress(OSError):
                stat = Path(f"/proc/{member}/task/{task}/schedstat").read_text()
                total += int(stat.split()[0])
    return total / 1e9


def private_bytes(pid: int) -> int:
    """Memory that the family has written and nobody else has (smaps_rollup).

    Clean pages belong to files, and become private or shared as other programs come and go.
    """
    total = 0
    for member in family(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Private_Dirty:"):
                    total += int(line.split()[1]) * 1024
    return total


class Bystanders:
    """Programs that are none of ours and use our cores while we measure."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._taken = _cores_seconds() - _our_seconds()

    def share(self) -> float:
        """Of the cores' time since the beginning, what they took (0 to 1)."""
        taken = _cores_seconds() - _our_seconds() - self._taken
        return max(0.0, taken / len(CORES_USED) / (time.monotonic() - self._begin))


def _cores_seconds() -> float:
    """CPU in user space and in the kernel that was used on our cores, by anybody."""
    names = {f"cpu{core}" for core in CORES_USED}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = sum(sum(map(int, words[1:4])) for words in lines if words[0] in names)
    return ticks / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    """CPU of this process and all it has started."""
    ended = os.times()
    return cpu_seconds(os.getpid()) + ended.children_user + ended.children_system
