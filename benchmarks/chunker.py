"""What the chunker costs beside memcpy of the same reads and beside other libraries.

    python -m benchmarks.chunker

Everybody in turn within one process; parts are dropped at once.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from os import getpid
from pathlib import Path

from benchmarks.cutting import BY_NAME, MIB, PART, POOL, SLAB, STREAM, WAYS, Way, drop, reads
from benchmarks.question import OURS, Contestant, Peer, Question, Site, Target
from benchmarks.runner import Runner
from benchmarks.table import table
from fastproxy.chunker import Chunker, SlabPool

GIB = 1 << 30
ROUNDS = 15
READ_SIZES = (SLAB, 16384, 4096)
LARGE = 64 * MIB
ENDINGS = 100  # parts ended for one figure
SMALL_PART = f"part of {SLAB >> 10} KiB"


@contextmanager
def here(name: str, site: Site) -> Iterator[Peer]:
    """A contestant that is nothing but code in this process."""
    yield Peer(name, 0, getpid(), site.directory)


def contestant(way: Way) -> Contestant:
    """One way of cutting."""
    return Contestant(way.name, partial(here, way.name), way.needs)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    begin = time.process_time_ns()
    call()
    return (time.process_time_ns() - begin) / 1e9


def cutting(size: int) -> Callable[[Peer, float], float]:
    """CPU seconds a GiB in reads of `size` bytes."""

    def ask(peer: Peer, scale: float) -> float:
        stream = reads(size, max(int(STREAM * scale), PART))
        cut = BY_NAME[peer.name].cut
        cut(stream, drop)  # the memory is warm, as it is in a process that runs
        return seconds(lambda: cut(stream, drop)) * GIB / sum(map(len, stream))

    return ask


def filling(size: int) -> Callable[[Peer, float], float]:
    """The same for what a BufferedProtocol does around the kernel's copy, without the kernel."""

    def fill(total: int) -> None:
        chunker = Chunker(POOL, PART)
        while chunker.total < total:
            chunker.buffer_updated(min(size, len(chunker.get_buffer())))
            for part in chunker:
                part.release()

    def ask(peer: Peer, scale: float) -> float:
        if peer.name != OURS:
            return cutting(size)(peer, scale)
        total = max(int(STREAM * scale), PART)
        return seconds(lambda: fill(total)) * GIB / total

    return ask


def peak_memory(peer: Peer, _scale: float) -> float:
    """MiB of memory for one stream, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cutting", peer.name]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr)
    return int(run.stdout) / MIB


def ending_a_part(peer: Peer, _scale: float) -> float:
    """Microseconds for the last byte of a part and for taking the part."""
    pool, small, used = SlabPool(LARGE, SLAB), SlabPool(SLAB, SLAB), []
    chunker = Chunker(pool, SLAB if peer.name == SMALL_PART else LARGE)
    for _ in range(ENDINGS):
        while chunker.part_room > 1:
            chunker.buffer_updated(min(chunker.part_room - 1, len(chunker.get_buffer())))
        for _ in range(3):  # brings the code, not the part, back into the processor's caches
            _end(Chunker(small, 1))
        used.append(_end(chunker))
    return statistics.median(used) / 1e3


def _end(chunker: Chunker) -> int:
    """Nanoseconds for the missing byte; the part is released afterwards."""
    begin = time.perf_counter_ns()
    chunker.feed(b"x")
    part = chunker.next_part()
    used = time.perf_counter_ns() - begin
    assert part is not None
    part.release()
    return used


CUTTERS = tuple(contestant(way) for way in WAYS)

QUESTIONS = (
    *(
        Question(
            f"chunker: parts of {PART // MIB} MiB out of reads of {size >> 10} KiB",
            "CPU s/GiB",
            cutting(size),
            CUTTERS,
            (Target(1.25, "memcpy"),),  # 0.8 of its speed
        )
        for size in READ_SIZES
    ),
    Question(
        f"chunker: kernel writes into parts, {SLAB >> 10} KiB a read, without its own copy",
        "CPU s/GiB",
        filling(SLAB),
        tuple(each for each in CUTTERS if each.name in (OURS, "memcpy")),
        (Target(0.1, "memcpy"),),  # no second copy hides in it
    ),
    Question(
        f"chunker: ending a part of {LARGE // MIB} MiB",
        "us",
        ending_a_part,
        tuple(Contestant(name, partial(here, name)) for name in (OURS, SMALL_PART)),
        (Target(2.0, SMALL_PART),),  # of 1,024 times the size; its last page is in no cache
    ),
    Question(
        "chunker: memory of one stream at its peak",
        "MiB",
        peak_memory,
        tuple(each for each in CUTTERS if each.name != "memcpy"),
        rounds=1,
    ),
)


def main() -> None:
    """Ask these questions alone."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name:
        findings = Runner(Path(name), 0, ROUNDS, 1.0).ask_all(QUESTIONS)
    print(table(findings))


if __name__ == "__main__":
    main()
