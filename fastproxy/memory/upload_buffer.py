"""One upload's bytes between its socket and its store."""

import asyncio
from enum import Enum
from typing import Final, Protocol

from typing_extensions import Buffer

from fastproxy._chunker import Chunker, Part
from fastproxy.errors import FastproxyError
from fastproxy.memory.account import READING, Account
from fastproxy.memory.blocks import Holding
from fastproxy.memory.buffered_part import BufferedPart
from fastproxy.memory.parties import Needs, Signals
from fastproxy.memory.spill import Spill, Write

_ANY: Final = 1 << 62  # bytes: as good as no limit
_WINDOW: Final = 1 << 20  # bytes that one read may bring
# Most of the time an upload has no complete part: these are all uploads', and nothing is added.
_NO_PARTS: Final[dict[BufferedPart, None]] = {}
_NONE_WAITS: Final[list[BufferedPart]] = []


class Keeper(Protocol):
    """The arena, as one upload sees it."""

    def ask(self, buffer: "UploadBuffer") -> bool:
        """May it take one more slab? If not, `on_resume` will be called when it may go on."""

    def grew(self, buffer: "UploadBuffer") -> None:
        """Its tail has more bytes."""

    def ahead(self, buffer: "UploadBuffer") -> int:
        """Slabs it may take before they are due; what it does not fill it gives back at once."""

    def took(self, buffer: "UploadBuffer", slabs: int) -> None:
        """It took slabs."""

    def completed(self, buffer: "UploadBuffer", slabs: int) -> None:
        """A part is complete."""

    def settled(self, buffer: "UploadBuffer") -> None:
        """A spill of its unfinished part ended, or empty slabs of it were given back."""

    def gave(self, buffer: "UploadBuffer", slabs: int) -> None:
        """Complete parts gave memory or disk back."""

    def ended(self, buffer: "UploadBuffer") -> None:
        """It takes no more bytes."""

    def closed(self, buffer: "UploadBuffer") -> None:
        """It is gone."""


class Stage(Enum):
    """OPEN -> FINISHED or FAILED -> CLOSED; OPEN -> CLOSED."""

    OPEN = "open"
    FAILED = "failed"  # the arena could not let it go on
    FINISHED = "finished"  # the stream ended; parts may wait
    CLOSED = "closed"


OPEN, FAILED, FINISHED, CLOSED = Stage


class UploadBuffer:
    """Bytes in on the socket's side, complete parts out on the store's; single-threaded.

    The socket's side asks `room()` right before each `get_buffer()` or `feed()`: between two reads
    it can fall to zero, for a tail that was spilled needs a new slab.

    `spare`: bytes that early cuts may take off its parts until the store's count of parts no longer
    holds the largest object.
    """

    __slots__ = (
        "_arrival",
        "_begun",
        "_chunker",
        "_completed",
        "_fault",
        "_keeper",
        "_latest",
        "_needs",
        "_parts",
        "_slab",
        "_spill",
        "_stage",
        "_tells",
        "_waiting",
        "account",
        "signals",
        "spare",
    )

    def __init__(
        self,
        keeper: Keeper,
        account: Account,
        chunker: Chunker,
        *,
        needs: Needs,
        spill: Spill,
        signals: Signals,
    ) -> None:
        self.account = account
        self.signals = signals
        self.spare = _ANY
        self._keeper = keeper
        self._chunker = chunker
        self._needs = needs
        self._spill = spill
        self._slab = spill.slab
        self._latest = 0  # bytes that the latest read brought
        self._stage = OPEN
        self._completed = 0  # parts
        self._begun: BufferedPart | None = None  # spilled pieces of the unfinished part
        self._parts = _NO_PARTS  # complete and not released
        self._waiting = _NONE_WAITS  # complete and not handed out
        self._arrival: asyncio.Future[None] | None = None
        self._tells = False
        self._fault: FastproxyError | None = None

    # --- socket side

    @property
    def total(self) -> int:
        """Bytes taken so far."""
        return self._chunker.total

    def room(self) -> int:
        """Bytes that can be taken right now, at least, in one piece or several.

        That is a promise until control returns to the loop; afterwards ask again. 0: pause. The
        upload is in the queue then, and `on_resume` is called when it may go on.
        """
        return self._slack() or self._next_slab()

    def _slack(self) -> int:
        """Bytes that fit into the tail without another slab."""
        chunker = self._chunker
        slack = chunker.tail_slabs * self._slab - chunker.tail_size
        return slack and min(slack, chunker.part_room)

    def _next_slab(self) -> int:
        """Bytes that fit into the slab it may take now."""
        if self._stage is not OPEN or not self._keeper.ask(self):
            return 0
        return min(self._slab, self._chunker.part_room)

    @property
    def ahead(self) -> int:
        """Bytes it may take before they are due; less may be free by the time they come."""
        return self._keeper.ahead(self) * self._slab

    def get_buffer(self) -> memoryview:
        """A window to read into, never empty. Only when `room()` > 0; raises PoolExhausted.

        Twice as long as the latest read, so only who fills long windows gets longer ones.
        """
        chunker = self._chunker
        wanted = min(2 * self._latest, _WINDOW, self.ahead)
        before = chunker.tail_slabs
        window = chunker.get_buffer(wanted)
        if chunker.tail_slabs > before:
            self._keeper.took(self, chunker.tail_slabs - before)
        return window

    def buffer_updated(self, n: int) -> None:
        """The first `n` bytes of the window are filled."""
        if n == 0:
            return  # the window stays open
        self._latest = n
        chunker = self._chunker
        before = chunker.tail_slabs
        chunker.buffer_updated(n)
        if 0 < chunker.tail_slabs < before:
            self._keeper.settled(self)
        self._grew()

    def feed(self, data: Buffer) -> int:
        """Copy bytes in; how many were taken, fewer than there are when memory ran out.

        Raises ChunkerClosed after `finish()`.
        """
        view = memoryview(data)
        taken = 0
        while taken < len(view):
            slack = self._slack()
            if not slack and not self._next_slab():
                break
            most = slack + self.ahead if slack else max(self._slab, self.ahead)
            most = min(most, self._chunker.part_room)
            size = self._chunker.feed(view[taken : taken + most])
            taken += size
            if size > slack:
                self._keeper.took(self, -((slack - size) // self._slab))
            self._grew()
        return taken

    def resumed(self) -> None:
        """From the loop: reading may go on."""
        if self._stage is OPEN and self.account.standing is READING:
            self.signals.on_resume()

    def finish(self) -> None:
        """The stream ended: what is held is the last part. Idempotent; nothing after close."""
        if self._stage is not OPEN:
            return
        self._stage = FINISHED
        self._chunker.finish()
        self._collect()
        if self._waiting:
            self._waiting[-1].is_last = True
        self._keeper.ended(self)
        self._wake()

    # --- store side

    @property
    def is_finished(self) -> bool:
        """The stream has ended and all its bytes are in parts."""
        return self._stage is FINISHED

    @property
    def parts_waiting(self) -> int:
        """Complete parts that were not handed out yet."""
        return len(self._waiting)

    def tell_when_ready(self) -> bool:
        """From within the socket's side, `on_ready`; False when that is so already."""
        self._tells = not self._waiting and self._stage is OPEN
        return self._tells

    async def next_part(self) -> BufferedPart | None:
        """The next complete part; None when all were handed out, or the buffer was closed.

        Raises what the arena ended it with, once.
        """
        while not self._waiting:
            if (fault := self._fault) is not None:
                self._fault = None
                try:
                    raise fault
                finally:
                    del fault  # whose frames would keep their views, and so their slabs
            if self._stage is not OPEN:
                return None
            if self._arrival is None:
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)  # one who stops waiting leaves it to the others
        return self._waiting.pop(0)

    def close(self) -> None:
        """Give back everything, also parts handed out, and wake who waits. Idempotent."""
        if self._stage is CLOSED:
            return
        self._stage = CLOSED
        self._drop_tail()
        self._waiting.clear()
        for part in list(self._parts):
            part.release()
        self._keeper.ended(self)
        self._keeper.closed(self)
        self._wake()

    def fail(self, fault: FastproxyError) -> None:
        """End it here: `next_part` raises `fault`. Its unfinished part is given back at once."""
        if self._stage is not OPEN:
            return
        self._stage = FAILED
        self._fault = fault
        self._drop_tail()
        self._waiting.clear()
        self._keeper.ended(self)
        self._wake()

    def _drop_tail(self) -> None:
        self._chunker.close()
        if self._begun is not None:
            self._begun.release()
            self._begun = None

    def _wake(self) -> None:
        if self._tells:
            self._tells = False
            self.signals.on_ready()
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        self._arrival = None

    # --- between the two

    def _grew(self) -> None:
        self._collect()
        self._keeper.grew(self)

    def _collect(self) -> None:
        """Complete parts go to the store's side."""
        while (piece := self._chunker.next_part()) is not None:
            part = self._part_of(piece)
            part.add(piece)
            self._begun = None
            if not self._completed:
                self._parts, self._waiting = {}, []
            self._completed += 1
            self._parts[part] = None
            self._waiting.append(part)
            self._keeper.completed(self, part.slabs)
            self._wake()

    def _part_of(self, piece: Part) -> BufferedPart:
        if self._begun is None:
            return BufferedPart(piece.number, piece.offset, self._spill, self)
        return self._begun

    @property
    def held(self) -> int:
        """Slabs the unfinished part has in memory."""
        begun = self._begun
        return self._chunker.tail_slabs + (0 if begun is None else begun.slabs)

    @property
    def disk(self) -> int:
        """Blocks of disk the unfinished part has."""
        return 0 if self._begun is None else self._begun.blocks

    @property
    def disk_missing(self) -> int:
        """Blocks to take before its tail fits on disk."""
        begun = self._begun or BufferedPart(0, 0, self._spill, self)
        return begun.missing(self._chunker.tail_size)

    @property
    def is_being_written(self) -> bool:
        """A spill of the unfinished part is under way."""
        return self._begun is not None and self._begun.is_being_written

    @property
    def can_cut(self) -> bool:
        """Would the store take what is held as a part?"""
        begun = self._begun
        size = self._chunker.tail_size + (0 if begun is None else begun.size)
        return (
            self._stage is OPEN
            and not self._needs.equal_parts
            and size >= self._needs.min_part
            and self._completed + 1 < self._needs.max_parts
        )

    @property
    def can_spare(self) -> bool:
        """Would all the rest still fit, if the unfinished part ended here?"""
        return self._chunker.part_room <= self.spare

    def cut(self) -> None:
        """End the unfinished part here, so that it can fly."""
        self.spare -= self._chunker.part_room
        self._chunker.cut()
        self._collect()

    def fits_disk(self) -> bool:
        """Has the disk budget room for the tail?"""
        if self._begun is None:
            return self._spill.fits(Holding(), self._chunker.tail_size)
        return self._begun.fits(self._chunker.tail_size)

    def spill(self) -> Write | None:
        """Begin to write the tail to disk; None if it had no bytes. Only if it `fits_disk()`."""
        piece = self._chunker.take()
        if piece is not None:
            self._begun = self._part_of(piece)
            self._begun.add(piece)
        return None if self._begun is None else self._begun.spill()

    def spill_waiting(self) -> list[Write]:
        """Begin to write the complete parts that nobody has taken yet; those the disk has room for.

        The newest first, which will wait the longest.
        """
        idle = (part for part in reversed(self._waiting) if not part.is_being_written)
        begun = (part.spill() for part in idle if part.slabs and part.fits(0))
        return [write for write in begun if write is not None]

    def landed(self, part: BufferedPart, freed: int) -> None:
        """A spill ended; the part may have been completed or released meanwhile."""
        if part in self._parts:
            self._keeper.gave(self, freed)
        elif part is self._begun:
            self._keeper.settled(self)

    def released(self, part: BufferedPart, freed: int) -> None:
        """A part is gone."""
        if part in self._parts:
            del self._parts[part]
            self._keeper.gave(self, freed)
