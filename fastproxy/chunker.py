"""Streams of unknown length into parts of known length, in bounded memory.

`iter_parts()` and `PartMemory.aiter_parts()` cover the usual need; `Chunker` and `SlabPool` are
below them. Needs nothing but Python; no event loop is imported before one waits here.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

from fastproxy._chunker import Chunker, ChunkerClosed, Part, PoolExhausted, SlabPool

__all__ = [
    "Chunker",
    "ChunkerClosed",
    "Part",
    "PartMemory",
    "PoolExhausted",
    "SlabPool",
    "iter_parts",
]

Bytes = bytes | bytearray | memoryview
PartSize = int | Callable[[int], int]


def iter_parts(source: Iterable[Bytes], part_size: PartSize, pool: SlabPool) -> Iterator[Part]:
    """Cut `source` into parts, the last of any size; an empty source gives one empty part.

    Each part is the consumer's to release (`with part:`). Raises PoolExhausted when the consumer
    still holds so many that the pool cannot hold the next, or one part alone is too large for it.
    """
    chunker = Chunker(pool, part_size)
    try:
        for data in source:
            rest = memoryview(data).cast("B")
            while rest:
                taken = chunker.feed(rest)
                if not taken:
                    raise PoolExhausted(_no_progress(chunker, pool))
                rest = rest[taken:]
                yield from chunker
        chunker.finish()
        yield from chunker
    finally:
        chunker.close()


def _no_progress(chunker: Chunker, pool: SlabPool) -> str:
    lent = pool.used_count - chunker.tail_slabs
    return (
        f"no free slab, and {chunker.part_room} bytes of the part are missing: {lent} of "
        f"{pool.slab_count} slabs are held elsewhere; release parts, or make the pool larger"
    )


class PartMemory:
    """`budget` bytes for parts, shared by all streams of one event loop.

    A stream gets the memory for a whole part before the part's first byte, in order of asking. So
    streams never wait for each other's half-filled parts, only for parts to be released; what is
    promised to a slow stream is not lent to others, though the kernel commits it only when used.

    `max_wait`: seconds one part may wait for memory (None: any time), then PoolExhausted is raised.
    """

    def __init__(self, budget: int, slab_size: int = 65536, max_wait: float | None = None) -> None:
        self.pool = SlabPool(budget, slab_size)
        self.max_wait = max_wait
        self._filling: set[Chunker] = set()
        self._line: dict[Chunker, Callable[[], None]] = {}  # who waits, in order
        self._serve_soon: Callable[[], object] = self._serve

    async def aiter_parts(
        self, source: AsyncIterable[Bytes], part_size: PartSize
    ) -> AsyncIterator[Part]:
        """Cut `source` into parts, the last of any size; an empty source gives one empty part.

        Each part is the consumer's to release (`with part:`), at once or when a parallel upload of
        it is done; the source is not read while there is no memory for the next part. A consumer
        that keeps all parts waits for itself. Raises PoolExhausted after `max_wait`, ValueError for
        a part larger than the budget.
        """
        chunker = Chunker(self.pool, part_size)
        try:
            async for data in source:
                rest = memoryview(data).cast("B")
                while rest:
                    rest = rest[await self._fill(chunker, rest) :]
                    for part in chunker:
                        yield part
            chunker.finish()
            self._leave(chunker)
            for part in chunker:
                yield part
        finally:
            chunker.close()
            self._leave(chunker)

    async def _fill(self, chunker: Chunker, data: memoryview) -> int:
        """Put the beginning of `data`, at most to the part's end, into the chunker."""
        if chunker not in self._filling:
            await self._begin_part(chunker)
        taken = chunker.feed(data[: chunker.part_room])
        if not taken:
            raise PoolExhausted("a chunker outside of this PartMemory took slabs of its pool")
        if not chunker.tail_size:
            self._filling.discard(chunker)
        return taken

    async def _begin_part(self, chunker: Chunker) -> None:
        if self._owed(chunker) > self.pool.slab_count:
            raise ValueError(f"a part of {chunker.part_room} bytes is larger than the PartMemory")
        if not self._line and self._fits(chunker):
            self._filling.add(chunker)
        else:
            await self._wait_in_line(chunker)

    async def _wait_in_line(self, chunker: Chunker) -> None:
        import asyncio  # only here, so that importing the chunker stays cheap

        loop = asyncio.get_running_loop()
        turn = asyncio.Event()
        self._line[chunker] = turn.set
        self._serve_soon = lambda: loop.is_closed() or loop.call_soon_threadsafe(self._serve)
        self._serve()
        try:
            async with asyncio.timeout(self.max_wait):
                await turn.wait()
        except TimeoutError:
            raise PoolExhausted(f"no memory for a part within {self.max_wait} s") from None

    def _serve(self) -> None:
        """Let those in line begin their parts, as far as the memory goes."""
        while self._line:
            # Armed before the look, so that a slab which a thread gives back meanwhile is seen.
            self.pool.on_free = self._serve_soon
            first = next(iter(self._line))
            if not self._fits(first):
                return
            self._filling.add(first)
            self._line.pop(first)()
        self.pool.on_free = None

    def _leave(self, chunker: Chunker) -> None:
        self._filling.discard(chunker)
        self._line.pop(chunker, None)
        self._serve()

    def _fits(self, chunker: Chunker) -> bool:
        promised = sum(self._owed(other) for other in self._filling)
        return self._owed(chunker) <= self.pool.free_count - promised

    def _owed(self, chunker: Chunker) -> int:
        """Slabs that the unfinished part will still take."""
        size = chunker.tail_size + chunker.part_room
        return -(-size // self.pool.slab_size) - chunker.tail_slabs
