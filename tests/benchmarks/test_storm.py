"""The storm, short: many slow uploads at once through two workers, and what it says of them."""

import subprocess
import sys

import pytest

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
