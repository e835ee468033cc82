"""What a dead worker leaves is adopted by the master, and ended; nothing else is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.service.running import is_alive
from tests.support.child import REPOSITORY
from tests.support.waiting import eventually

# A master; a worker that starts two programs, only one of them with its mark, and dies.
MASTER = """
import os, signal, subprocess, sys, time
from fastproxy.git.orphans import MARK, Orphans, adopt
adopt()
stubborn = ["sh", "-c", "trap '' TERM; echo up; sleep 600 & wait; wait"]
worker = os.fork()
if worker == 0:
    for mark in ({MARK: str(os.getpid())}, {}):
        child = subprocess.Popen(
            stubborn, env={**os.environ, **mark}, start_new_session=True, stdout=subprocess.PIPE
        )
        child.stdout.readline()
        print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(worker, 0)
orphans = Orphans()
print(orphans.end(worker, 100.0), orphans.kill_at, flush=True)
sys.stdin.readline()
orphans.keep(101.0)
print("kept", flush=True)
sys.stdin.readline()
orphans.keep(102.0)
sys.stdin.readline()
"""


def test_orphans_are_asked_to_end_and_then_made_to(tmp_path: Path) -> None:
    master = subprocess.Popen(
        [sys.executable, "-c", MASTER],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert master.stdin is not None
    assert master.stdout is not None
    marked, other = int(master.stdout.readline()), int(master.stdout.readline())
    try:
        assert master.stdout.readline() == "1 102.0\n"
        master.stdin.write("\n")
        master.stdin.flush()
        assert master.stdout.readline() == "kept\n"
        assert is_alive(marked)
        master.stdin.write("\n")
        master.stdin.flush()
        eventually(lambda: not is_alive(marked), "ended")
        assert is_alive(other)
    finally:
        os.killpg(other, signal.SIGKILL)
        master.communicate("\n", timeout=10)
