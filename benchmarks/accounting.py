"""What processes take, as the kernel tells it: seconds of CPU, bytes of memory."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


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


def busy_seconds(cores: Iterable[int]) -> float:
    """CPU in user space and in the kernel that anybody has used on these cores."""
    names = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = sum(sum(map(int, words[1:4])) for words in lines if words[0] in names)
    return ticks / os.sysconf("SC_CLK_TCK")


def tcp_bytes() -> int:
    """What the kernel holds for all TCP sockets: sent, not yet taken or read (net/sockstat)."""
    lines = Path("/proc/net/sockstat").read_text().splitlines()
    words = next(line.split() for line in lines if line.startswith("TCP:"))
    return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")


def tcp_pressure() -> int:
    """From so many of these bytes on it makes all sockets' windows small (tcp(7), tcp_mem)."""
    pages = Path("/proc/sys/net/ipv4/tcp_mem").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process: resident, its fair share of what is shared, and its own.

    `dirty`: of its own what it has written. Clean pages belong to files, and become private or
    shared as other programs come and go.
    """

    rss: int
    pss: int
    own: int
    dirty: int


def memory(pid: int) -> Memory:
    """Now, as smaps_rollup tells it. Raises OSError when the process is gone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    rows = {name: int(size) * 1024 for name, size, *_ in map(str.split, lines)}
    dirty = rows["Private_Dirty:"]
    return Memory(rows["Rss:"], rows["Pss:"], rows["Private_Clean:"] + dirty, dirty)


def private_bytes(pid: int) -> int:
    """Memory that the family has written and nobody else has."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            total += memory(member).dirty
    return total


def resident_bytes(pid: int) -> int:
    """RSS of one process, for less than `memory` costs. Raises OSError when it is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Peak:
    """The highest value of a figure since it is watched."""

    value: int


@contextmanager
def peak_of(figure: Callable[[], int]) -> Iterator[Peak]:
    """Look at `figure` from a thread of its own, some 50 times a second, until the block ends."""
    peak, over = Peak(figure()), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak.value = max(peak.value, figure())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()
