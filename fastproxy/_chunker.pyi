"""Byte stream in, parts of an exact size out, in bounded memory.

A `SlabPool` owns one anonymous mapping cut into fixed-size slabs: a hard budget. A `Chunker` takes
slabs as bytes arrive (none before the first byte) and hands over each filled part as a frozen
sequence of memoryviews. Needs nothing but Python: no asyncio, no other module of this package.

Ownership: one chunker has one owner and is not shared between threads. Memory of a part is not used
again before `release()` was called *and* its last memoryview is gone, so a transport that still
writes a view can never send other bytes.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import final

from typing_extensions import Buffer

class PoolExhausted(MemoryError):
    """The pool has no free slab. Nothing was lost: release parts, or pause, and go on."""

class ChunkerClosed(ValueError):
    """The chunker was finished or closed and takes no more bytes."""

@final
class SlabPool:
    """A hard budget of `budget` bytes (rounded down to whole slabs of `slab_size` bytes)."""

    def __init__(self, budget: int, slab_size: int = 65536) -> None: ...
    @property
    def slab_size(self) -> int: ...
    @property
    def slab_count(self) -> int: ...
    @property
    def free_count(self) -> int: ...
    @property
    def used_count(self) -> int: ...
    @property
    def peak_count(self) -> int:
        """Most slabs ever used at once."""
    def trim(self) -> int:
        """Give the memory of free slabs back to the kernel (MADV_DONTNEED); bytes given back."""

@final
class Part:
    """A frozen run of bytes: `number` (from 1), `offset` in the stream, `size`, `views`.

    `is_whole` is False for a piece handed over by `Chunker.take()` before its part was full.
    """

    @property
    def number(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_whole(self) -> bool: ...
    @property
    def is_released(self) -> bool: ...
    @property
    def views(self) -> tuple[memoryview, ...]:
        """Read-only views, in order. Raises ValueError once released."""
    def tobytes(self) -> bytes: ...
    def release(self) -> None:
        """Give the slabs back (each as soon as its last view is gone). Idempotent."""
    def __len__(self) -> int: ...
    def __enter__(self) -> Part: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...

@final
class Chunker:
    """Cuts a byte stream into parts.

    `part_size` is the size of every part but the last, in bytes, or a function from a part's number
    (from 1) to its size. Complete parts wait in order for `next_part()`.
    """

    def __init__(self, pool: SlabPool, part_size: int | Callable[[int], int]) -> None: ...
    @property
    def total(self) -> int:
        """Bytes taken so far."""
    @property
    def tail_size(self) -> int:
        """Bytes held of the unfinished part."""
    @property
    def tail_slabs(self) -> int:
        """Slabs held by the unfinished part."""
    @property
    def room(self) -> int:
        """Bytes that can be taken now without waiting for memory (also across part ends)."""
    @property
    def part_room(self) -> int:
        """Bytes still missing for the unfinished part to be complete."""
    @property
    def is_finished(self) -> bool: ...
    def feed(self, data: Buffer) -> int:
        """Copy `data` in; the number of bytes taken, less than len(data) only if the pool ran dry.

        Raises ChunkerClosed.
        """
    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """A writable window for the kernel to fill, never empty, within one slab and one part.

        Raises PoolExhausted, ChunkerClosed. Only the window of the latest call may be written.
        """
    def buffer_updated(self, nbytes: int) -> None:
        """The first `nbytes` of the window are filled. Raises ValueError if that cannot be."""
    def next_part(self) -> Part | None:
        """The next complete part, or None."""
    def take(self) -> Part | None:
        """Hand over what is held of the unfinished part; it goes on with the room that is left.

        For spilling to disk and for stores that take pieces of any size.
        """
    def cut(self) -> None:
        """End the unfinished part here, if it holds or handed over anything; begin the next."""
    def finish(self) -> None:
        """The stream has ended: the tail is the last part. An empty stream gives one empty part."""
    def close(self) -> None:
        """Release everything not handed over. Idempotent; also done on deallocation."""
    def __iter__(self) -> Iterator[Part]:
        """Complete parts, until there are none."""
