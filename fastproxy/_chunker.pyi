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
from typing import Literal, NoReturn, final

from typing_extensions import Buffer

class PoolExhausted(MemoryError):
    """The pool has no free slab. Nothing was lost: release parts, or pause, and go on."""

class ChunkerClosed(ValueError):
    """The chunker was finished or closed and takes no more bytes."""

@final
class SlabPool:
    """A hard budget of `budget` bytes (rounded down to whole slabs of `slab_size` bytes).

    The kernel commits memory to a slab when it is first used. The mapping lives until the pool, its
    chunkers, their parts and the last view are gone. Raises ValueError, MemoryError (no mapping).
    """

    on_free: Callable[[], object] | None
    """Called when a slab has come back, once: it is None again then, to be set by who still waits.

    The call comes from whichever thread dropped the last view, within its deallocation, so it may
    only note or schedule (`loop.call_soon_threadsafe`).
    """

    def __new__(cls, budget: int, slab_size: int = 65536) -> SlabPool: ...
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

    `is_whole`: all bytes of the part are in it. `is_end`: its last byte ends the part, so
    another number comes next. A piece from `Chunker.take()` is neither; the piece that then ends
    the part is an end, not whole, and may be empty. A part is always true, also an empty one.
    """

    def __init__(self, *args: object, **kwargs: object) -> NoReturn:
        """Parts come from a chunker: raises TypeError."""
    @property
    def number(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_whole(self) -> bool: ...
    @property
    def is_end(self) -> bool: ...
    @property
    def is_released(self) -> bool: ...
    @property
    def views(self) -> tuple[memoryview, ...]:
        """Read-only views, in order. Raises ValueError once released."""
    def tobytes(self) -> bytes:
        """A copy of the bytes. Raises ValueError once released."""
    def release(self) -> None:
        """Give the slabs back (each as soon as its last view is gone). Idempotent."""
    def __len__(self) -> int: ...
    def __bool__(self) -> Literal[True]: ...
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
    (from 1) to its size. The function is asked once per number, in order, and may be asked ahead of
    the stream (`room`), so it must answer for every number. What it raises is passed on, ValueError
    for a size under 1; `total` then tells how much was taken. Complete parts wait in order for
    `next_part()`. A slab belongs to one part: sizes in whole slabs waste none.
    """

    def __new__(cls, pool: SlabPool, part_size: int | Callable[[int], int]) -> Chunker: ...
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
        """Bytes still missing for the unfinished part to be complete; 0 once finished or closed."""
    @property
    def is_finished(self) -> bool:
        """`finish()` was called, and `close()` was not."""
    def feed(self, data: Buffer) -> int:
        """Copy `data` in; the number of bytes taken, less than len(data) only if the pool ran dry.

        Raises ChunkerClosed.
        """
    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """A writable window for the kernel to fill, never empty, within one part.

        It may be smaller or larger than `sizehint`: it ends with the slab, but for a larger hint it
        goes on through free slabs that lie behind it. What it leaves empty goes back with
        `buffer_updated()`. Raises PoolExhausted, ChunkerClosed. Only the window of the latest call
        may be written, only until `buffer_updated()` or any other call that adds to or ends the
        part: later writes through it would change frozen bytes.
        """
    def buffer_updated(self, nbytes: int) -> None:
        """The first `nbytes` of the window are filled. Raises ValueError if that cannot be.

        Slabs that hold nothing yet go back to the pool. Raises ChunkerClosed.
        """
    def next_part(self) -> Part | None:
        """The next complete part, or None."""
    def take(self) -> Part | None:
        """Hand over what is held of the unfinished part; it goes on with the room that is left.

        None if nothing is held; the tail then holds no slab, either.
        For spilling to disk and for stores that take pieces of any size.
        """
    def cut(self) -> None:
        """End the unfinished part here, if it holds or handed over anything; begin the next.

        Raises ChunkerClosed.
        """
    def finish(self) -> None:
        """The stream has ended: the tail is the last part. An empty stream gives one empty part.

        At a part's end there is no further, empty part. Idempotent. Raises ChunkerClosed if closed.
        """
    def close(self) -> None:
        """Release everything `next_part()` and `take()` did not give. Idempotent; also done on
        deallocation.
        """
    def __iter__(self) -> Iterator[Part]:
        """Complete parts, until there are none."""
