"""Which blocks of the spill file belong to whom: a hard budget of disk, in memory only."""

import heapq

from msgspec import Struct


class Extent(Struct, frozen=True):
    """A run of bytes in the spill file."""

    offset: int
    size: int


def joined(extents: list[Extent]) -> list[Extent]:
    """The same bytes in as few extents as possible."""
    runs: list[Extent] = []
    for extent in extents:
        if runs and runs[-1].offset + runs[-1].size == extent.offset:
            runs[-1] = Extent(runs[-1].offset, runs[-1].size + extent.size)
        else:
            runs.append(extent)
    return runs


class Blocks:
    """Hands out blocks of `size` bytes, the lowest numbers first, never more than `limit`.

    A freed block is dirty, its bytes still occupy the disk, until it was trimmed. Dirty blocks are
    used again first, so the file grows only when it must.
    """

    def __init__(self, limit: int, size: int) -> None:
        self.size = size
        self.limit = limit
        self.used = 0
        self._end = 0  # blocks from here on were never handed out
        self._dirty: list[int] = []
        self._clean: list[int] = []
        self._trimming = 0

    @property
    def available(self) -> int:
        """Blocks that can be had now."""
        return max(0, self.limit - self.used - self._trimming)

    @property
    def dirty(self) -> int:
        """Free blocks that still occupy the disk."""
        return len(self._dirty)

    def take(self, count: int) -> list[int] | None:
        """`count` blocks in ascending order, or None if there are not so many."""
        if count > self.available:
            return None
        self.used += count
        return sorted(self._next() for _ in range(count))

    def _next(self) -> int:
        for free in (self._dirty, self._clean):
            if free:
                return heapq.heappop(free)
        self._end += 1
        return self._end - 1

    def give(self, blocks: list[int]) -> None:
        """Blocks are free again."""
        self.used -= len(blocks)
        for block in blocks:
            heapq.heappush(self._dirty, block)

    def begin_trim(self) -> list[Extent]:
        """Set all dirty blocks aside until `end_trim`, so that nobody writes to them."""
        extents = joined([Extent(b * self.size, self.size) for b in sorted(self._dirty)])
        self._trimming += len(self._dirty)
        self._dirty = []
        return extents

    def end_trim(self, extents: list[Extent]) -> None:
        """These extents occupy no disk any more."""
        for extent in extents:
            first, length = extent.offset // self.size, extent.size // self.size
            self._trimming -= length
            for block in range(first, first + length):
                heapq.heappush(self._clean, block)


class Holding:
    """The blocks of one part. The last is filled up by the next spill, so trickles waste none."""

    __slots__ = ("blocks", "used")

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.used = 0  # bytes

    def missing(self, size: int, block: int) -> int:
        """Blocks to take before `size` more bytes fit."""
        return max(0, -(-(self.used + size) // block) - len(self.blocks))

    def extend(self, size: int, source: Blocks) -> list[Extent] | None:
        """Where the next `size` bytes go; None if the disk budget does not have them."""
        taken = source.take(self.missing(size, source.size))
        if taken is None:
            return None
        self.blocks += taken
        start, self.used = self.used, self.used + size
        return self.extents(start, self.used, source.size)

    def extents(self, start: int, end: int, block: int) -> list[Extent]:
        """Where the part's bytes from `start` to `end` are, in blocks of `block` bytes."""
        extents = []
        while start < end:
            index, inside = divmod(start, block)
            length = min(block - inside, end - start)
            extents.append(Extent(self.blocks[index] * block + inside, length))
            start += length
        return joined(extents)

    def shrink(self, used: int, source: Blocks) -> None:
        """Forget the bytes after `used` and free the blocks they were alone in."""
        keep = -(-used // source.size)
        source.give(self.blocks[keep:])
        del self.blocks[keep:]
        self.used = used
