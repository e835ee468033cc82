"""What is measured is what the kernel accounted to all processes of a contestant, no others."""

import os
import socket
import subprocess
import sys
from contextlib import suppress

from benchmarks.accounting import (
    busy_seconds,
    cpu_seconds,
    family,
    memory,
    peak_of,
    private_bytes,
    resident_bytes,
    tcp_bytes,
    tcp_pressure,
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

# A process of its own: of ours, much is shared with children that end at any time.
WRITER = """
import mmap
memory = mmap.mmap(-1, %d, mmap.MAP_PRIVATE)
print(flush=True)
input()
for at in range(0, len(memory), mmap.PAGESIZE):
    memory[at] = 1
print(flush=True)
input()
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
    size = 64 * MIB
    with subprocess.Popen([sys.executable, "-c", WRITER % size], stdin=-1, stdout=-1) as writer:
        assert writer.stdin
        assert writer.stdout
        pid = writer.pid
        writer.stdout.readline()
        before, private, resident = memory(pid), private_bytes(pid), resident_bytes(pid)
        writer.stdin.write(b"\n")
        writer.stdin.flush()
        writer.stdout.readline()
        now = memory(pid)
        written = (now.rss - before.rss, now.dirty - before.dirty)
        for more in (*written, private_bytes(pid) - private, resident_bytes(pid) - resident):
            assert size - MIB < more < size + MIB
        # Pages of files count, too, and are shared or not as other programs come and go.
        for more in (now.pss - before.pss, now.own - before.own):
            assert size - 32 * MIB < more < size + 32 * MIB
        writer.communicate(b"\n")


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


def test_what_nobody_reads_is_memory_of_the_kernel() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0],
    ):
        client.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):
            while sent < 8 * MIB:
                sent += client.send(bytes(1 << 16))
        assert tcp_bytes() > sent // 2  # others have some, too
    assert tcp_pressure() > MIB
