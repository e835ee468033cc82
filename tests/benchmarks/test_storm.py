"""The storm, short: many slow uploads at once through two workers, and what it says of them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.accounting import family

pytestmark = pytest.mark.timeout(200)


def test_a_short_storm_passes_and_every_object_is_exact() -> None:
    command = [sys.executable, "-m", "benchmarks.storm", "--uploads", "300", "--concurrency", "200"]
    command += ["--minutes", "0.1", "--ramp", "1", "--workers", "2", "--budget", "32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    assert table["byte-exact"] == table["uploads planned"] == "300"
    assert table["in flight at once, most"] == "200"
    assert table["refused or failed"] == "0"


def test_a_storm_that_is_told_to_end_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.storm", "--uploads", "300", "--concurrency", "200"]
    command += ["--workers", "2", "--budget", "32", "--spill", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as storm:
        try:
            # Itself; store and application; master, workers and admin; prober and load.
            _wait_for(lambda: len(family(storm.pid)) == 1 + 2 + 4 + 2)
            started = family(storm.pid)
            storm.send_signal(signal.SIGTERM)
            _, errors = storm.communicate(timeout=60)
        finally:
            storm.kill()
    assert storm.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in errors
    _wait_for(lambda: not any(map(_runs, started)))


def _runs(pid: int) -> bool:
    """A zombie has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
