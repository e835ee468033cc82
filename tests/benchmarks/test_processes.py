"""What is started is on its core, is waited for, and ends with whoever started it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmarks.processes import forked, free_port, running, wait_for

ROOT = Path(__file__).parents[2]
# Its child ends it as soon as it can, while it may not yet know that it has a child.
INTERRUPTED = """
import os, signal
from pathlib import Path
from benchmarks.accounting import family
from benchmarks.processes import LOAD_CORE, output_of, running

signal.signal(signal.SIGTERM, signal.default_int_handler)
command = ["sh", "-c", "kill -TERM $PPID; exec sleep 60"]
try:
    {start}
except KeyboardInterrupt:
    print(len(family(os.getpid())))
"""


@pytest.mark.parametrize(
    "start",
    [
        "output_of(command, LOAD_CORE)",
        "with running(command, LOAD_CORE, Path(os.devnull)): signal.pause()",
    ],
)
def test_who_is_interrupted_has_waited_for_what_it_started(start: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(start=start)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_fork_ends_when_it_is_told_to_however_early() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        for _ in range(50):
            process = forked(time.sleep, 600)
            process.terminate()
            process.join(10)
            process.kill()
            assert process.exitcode == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_fork_ends_whoever_swallows_exceptions_in_it() -> None:
    def swallow(begun: Connection) -> None:
        while True:
            with suppress(BaseException):
                begun.send(None)
                time.sleep(600)

    here, there = Pipe()
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        process = forked(swallow, there)
        here.recv()
        process.terminate()
        process.join(10)
        process.kill()
        assert process.exitcode == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_runs_is_on_its_core_and_ends_with_the_block(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    with running(["sleep", "60"], core, tmp_path / "log") as pid:
        assert os.sched_getaffinity(pid) == {core}
        assert os.sched_getaffinity(0) == before
    assert not Path(f"/proc/{pid}").exists()


def test_who_does_not_answer_is_told_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.processes.START_S", 0.1)
    log = tmp_path / "log"
    log.write_text("unknown directive")
    with pytest.raises(RuntimeError, match="unknown directive"):
        wait_for(free_port(), log)
