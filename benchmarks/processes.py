"""Processes under measurement: started pinned to a core, ended by pid."""

import multiprocessing
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, ParamSpec

from benchmarks.accounting import family

P = ParamSpec("P")

START_S = 15.0
# The first that we may use; `taskset -c 2,3 python -m benchmarks` chooses others. With two of them
# the load and the backend share one.
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE, ORIGIN_CORE = (CORES[min(n, len(CORES) - 1)] for n in range(3))
CORES_USED = {PROXY_CORE, LOAD_CORE, ORIGIN_CORE}

_ENDING = (signal.SIGINT, signal.SIGTERM)
_fork = multiprocessing.get_context("fork")  # children share what was made before


def end_on_sigterm() -> None:
    """Let SIGTERM unwind this process: what was started ends, too."""

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
        for number in _ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def forked(target: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> BaseProcess:
    """Run `target` in a fork of this process, which ends with it. It has nothing to unwind.

    SIGINT and SIGTERM wait meanwhile: here until the child is known, and there until Python has
    forgotten, as it does in every new child, which signals have come. SIGTERM then ends it at once:
    of 500 exceptions that a handler raised in a uvloop that was starting, 5 were swallowed.
    """

    def born() -> None:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        target(*args, **kwargs)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        process = _fork.Process(target=born, daemon=True)
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


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


def wait_for(port: int, log: Path, *, is_secure: bool = False) -> None:
    """Until something answers HTTP on `port`. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 1) as plain,
            secured(plain) if is_secure else plain as connection,
        ):
            connection.settimeout(2)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            if connection.recv(12).startswith(b"HTTP/1."):
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers on port {port}: {log.read_text()[-2000:]}")


def secured(plain: socket.socket) -> ssl.SSLSocket:
    """TLS 1.3 over `plain` with a server that is not verified. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context.wrap_socket(plain, suppress_ragged_eofs=False)
