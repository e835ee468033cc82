"""Does the chunker leak? 100,000 parts, then: counters at zero, Python's heap and our RSS flat.

    python -m tests.isolated.chunker_leaks

Stands alone so that no other test's memory is measured; exits 1 and says what grew.
"""

import gc
import os
import sys
import tracemalloc
from pathlib import Path

from fastproxy.chunker import Chunker, PoolExhausted, SlabPool

PARTS = 100_000
RSS_SLACK = 1 << 20  # 10 bytes a part would be as much
HEAP_SLACK = 64 << 10


def use_everything(pool: SlabPool, parts: int) -> None:
    """Walk `parts` parts through every way in and out, errors included."""
    chunker = Chunker(pool, lambda number: 100 + number % 100)
    data = b"x" * 180
    for turn in range(parts):
        chunker.feed(data)
        window = chunker.get_buffer()
        chunker.buffer_updated(min(7, len(window)) if turn % 3 else 0)
        piece = chunker.take() if turn % 5 == 0 else None
        for part in chunker:
            views = part.views
            part.release()
            del views
        if turn % 7 == 0:
            chunker.cut()
        if turn % 1000 == 0:
            fail(pool)
        del piece
    chunker.finish()


def fail(pool: SlabPool) -> None:
    hog = Chunker(pool, 1 << 20)
    hog.feed(bytes(pool.slab_count * pool.slab_size))
    for call in (hog.get_buffer, lambda: hog.buffer_updated(-1), lambda: hog.feed("text")):
        try:
            call()
        except (PoolExhausted, ValueError, TypeError):
            continue
        raise AssertionError("the call should have failed")


def rss() -> int:
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGESIZE")


def main() -> int:
    pool = SlabPool(4096, 64)
    use_everything(pool, PARTS // 10)  # warm: free lists, code caches
    gc.collect()
    before = rss()
    use_everything(pool, PARTS)
    gc.collect()
    grown = rss() - before
    for _ in range(1000):
        SlabPool(1 << 20)  # mappings and slab lists are given back, too
    grown_by_pools = rss() - before - grown

    tracemalloc.start()
    use_everything(pool, 100)
    gc.collect()
    heap = tracemalloc.get_traced_memory()[0]
    use_everything(pool, PARTS // 10)
    gc.collect()
    heap = tracemalloc.get_traced_memory()[0] - heap

    print(f"rss {grown:+} and {grown_by_pools:+}, heap {heap:+}, slabs in use {pool.used_count}")
    flat = max(grown, grown_by_pools) < RSS_SLACK and heap < HEAP_SLACK
    return 0 if flat and pool.used_count == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
