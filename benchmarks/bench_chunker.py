"""What the chunker costs, as ratios to memcpy of the same bytes in the same run.

    python -m benchmarks.bench_chunker

The two sides of a ratio take turns and the median of the pairs is shown, so another process on the
machine disturbs both. memcpy is a slice assignment into memory that is as warm as the slabs.
"""

import statistics
import time
from collections.abc import Callable

from fastproxy.chunker import Chunker, SlabPool

MIB = 1 << 20
SLAB = 65536
ROUNDS = 31


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    begin = time.process_time_ns()
    call()
    return (time.process_time_ns() - begin) / 1e9


def compare(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of both and the median of their ratios, measured in turns."""
    one()
    other()
    pairs = [(seconds(one), seconds(other)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


def feeding(pool: SlabPool, data: bytes, part_size: int, read: int) -> Callable[[], None]:
    """Feed `data` in reads of `read` bytes and release each part."""
    reads = [memoryview(data)[start : start + read] for start in range(0, len(data), read)]

    def feed() -> None:
        chunker = Chunker(pool, part_size)
        for piece in reads:
            taken = chunker.feed(piece)
            assert taken == len(piece)
            for part in chunker:
                part.release()

    return feed


def copying(data: bytes, part_size: int, read: int) -> Callable[[], None]:
    """The same copies without a chunker: read by read into one part's worth of memory."""
    target = memoryview(bytearray(part_size + read))
    reads = [memoryview(data)[start : start + read] for start in range(0, len(data), read)]

    def copy() -> None:
        at = 0
        for piece in reads:
            target[at : at + len(piece)] = piece
            at = (at + len(piece)) % part_size

    return copy


def filling(pool: SlabPool, total: int, part_size: int, read: int) -> Callable[[], None]:
    """What a BufferedProtocol does around the kernel's copy, without the kernel."""

    def fill() -> None:
        chunker = Chunker(pool, part_size)
        while chunker.total < total:
            chunker.buffer_updated(min(read, len(chunker.get_buffer())))
            for part in chunker:
                part.release()

    return fill


def main() -> None:
    """Print one table."""
    pool = SlabPool(64 * MIB, SLAB)
    data = b"x" * (64 * MIB)  # not zeros, which the kernel would not have to keep
    print(f"{'':34}{'MiB/s':>9}{'memcpy':>9}{'ratio':>8}")
    for read in (SLAB, 16384, 4096):
        fed, copied, ratio = compare(
            feeding(pool, data, 8 * MIB, read), copying(data, 8 * MIB, read)
        )
        name = f"feed, reads of {read} bytes"
        print(f"{name:34}{64 / fed:9.0f}{64 / copied:9.0f}{1 / ratio:8.2f}")
    for read in (SLAB, 4096):
        fill = filling(pool, 64 * MIB, 8 * MIB, read)
        cost = statistics.median(seconds(fill) for _ in range(ROUNDS)) / 64
        print(f"get_buffer, reads of {read} bytes: {cost * 1e6:.1f} us per MiB")
    for part_size in (1, 4096, SLAB, MIB, 8 * MIB):
        parts = min(10_000, 64 * MIB // part_size)
        feed = feeding(pool, data[: parts * part_size], part_size, min(MIB, 512 * part_size))
        cost = statistics.median(seconds(feed) for _ in range(ROUNDS)) / parts
        print(f"part of {part_size} bytes: {cost * 1e6:.2f} us, copy included")


if __name__ == "__main__":
    main()
