"""What is measured is what the kernel accounted to all processes of a contestant, no others."""

import mmap
import os
import subprocess
import sys

from benchmarks.accounting import (
    busy_seconds,
    cpu_seconds,
    family,
    memory,
    peak_of,
    private_bytes,
    resident_bytes,
)
from benchmarks.processes import PROXY_CORE, on_core
from tests.support.waiting import eventually

MIB = 1 << 20
WORK = "import time\nwhile time.process_time() < 0.2: pass\n"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WORK + "input()"!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate()
"""


def test_the_cpu_of_children_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert family(parent.pid) == [parent.pid, child]
        while cpu_seconds(child) < 0.2:
            os.sched_yield()
        assert cpu_seconds(parent.pid) >= cpu_seconds(child) >= 0.2
        parent.communicate(b"\n")
    assert cpu_seconds(child) == 0


def test_what_is_written_is_resident_and_its_writers_own() -> None:
    # Pages of files become our own, or shared, as other programs come and go: tens of MiB.
    pid, size, slack = os.getpid(), 256 * MIB, 64 * MIB
    before, own = memory(pid), private_bytes(pid)
    resident = resident_bytes(pid)
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE) as written:
        for at in range(0, size, mmap.PAGESIZE):
            written[at] = 1
        now = memory(pid)
        grown = (now.rss - before.rss, now.pss - before.pss, now.own - before.own)
        for more in (*grown, now.dirty - before.dirty, private_bytes(pid) - own):
            assert size - slack < more < size + slack
        assert size - slack < resident_bytes(pid) - resident < size + slack


def test_a_peak_is_the_highest_value_while_it_is_watched() -> None:
    now = [1]
    with peak_of(lambda: now[0]) as peak:
        assert peak.value == 1
        now[0] = 7
        eventually(lambda: peak.value == 7, "seen")
        now[0] = 2
    now[0] = 9
    assert peak.value == 7


def test_work_on_a_core_makes_it_busy() -> None:
    before = busy_seconds({PROXY_CORE})
    with on_core(PROXY_CORE):
        subprocess.run([sys.executable, "-c", WORK], check=True)
    assert busy_seconds({PROXY_CORE}) - before > 0.15
