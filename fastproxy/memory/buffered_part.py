"""One part of an upload: what was spilled of it, then what is in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from fastproxy._chunker import Part
from fastproxy.memory.blocks import Holding
from fastproxy.memory.spill import Spill, Write

_NOTHING: Final[list[Part]] = []  # of the many parts whose bytes are all on disk


class Listener(Protocol):
    """The upload that keeps account of its parts."""

    def landed(self, part: "BufferedPart", freed: int) -> None:
        """A spill of the part ended; `freed` slabs left memory, none if it failed."""

    def released(self, part: "BufferedPart", freed: int) -> None:
        """The part is gone, and `freed` slabs with it."""


class BufferedPart:
    """Filled by its upload, then handed out complete; the sender releases it.

    Satisfies fastproxy.storage.contract.PartBody. `offset` and `size` in bytes of the stream.
    """

    __slots__ = ("_holding", "_in_memory", "_listener", "_memory", "_on_disk", "_spill", "_writing",
                 "is_last", "is_released", "number", "offset", "size", "slabs")  # fmt: skip
    is_retained = True

    def __init__(self, number: int, offset: int, spill: Spill, listener: Listener) -> None:
        self.number = number
        self.offset = offset
        self.size = 0
        self.is_last = False
        self.is_released = False
        self.slabs = 0  # that it holds, also those that are being written
        self._spill = spill
        self._listener = listener
        self._memory = _NOTHING  # follows what is on disk
        self._in_memory = 0  # bytes
        self._on_disk = 0  # bytes; of the holding's, more may be on their way there
        self._holding = Holding()
        self._writing = 0  # leading pieces of memory

    @property
    def is_being_written(self) -> bool:
        """A spill holds on to its memory."""
        return self._writing > 0

    def add(self, piece: Part) -> None:
        """The next bytes."""
        self.size += piece.size
        if piece.size:
            if self._memory is _NOTHING:
                self._memory = []
            self._memory.append(piece)
            self._in_memory += piece.size
            self.slabs += self._slabs_of(piece)

    def _slabs_of(self, piece: Part) -> int:
        return -(-piece.size // self._spill.slab)

    @property
    def blocks(self) -> int:
        """Blocks of disk it has."""
        return len(self._holding.blocks)

    def missing(self, more: int) -> int:
        """Blocks to take before its memory and `more` bytes of its tail fit on disk."""
        return self._holding.missing(self._in_memory + more, self._spill.slab)

    def fits(self, more: int) -> bool:
        """Has the disk budget room for its memory and `more` bytes of its tail?"""
        return self._spill.fits(self._holding, self._in_memory + more)

    def spill(self) -> Write | None:
        """Begin to write its memory to disk; None if it has none. `fits` was asked before."""
        used, size = self._holding.used, self._in_memory
        extents = self._spill.plan(self._holding, size) if size else None
        if extents is None:
            return None
        self._writing = len(self._memory)
        views = [view for piece in self._memory for view in piece.views]

        def landed(is_written: bool) -> None:
            self._landed(size if is_written else 0, used)

        return Write(extents, views, self.slabs, landed)

    def _landed(self, written: int, used: int) -> None:
        pieces = self._memory[: self._writing]
        self._writing = 0
        before = self.slabs
        if self.is_released:
            self._spill.give(self._holding)
        elif written:
            self._on_disk = used + written
            self._memory = self._memory[len(pieces) :] or _NOTHING
            self._in_memory -= written
            for piece in pieces:
                self.slabs -= self._slabs_of(piece)
                piece.release()
        else:  # nothing is lost: the bytes are where they were
            self._spill.undo(self._holding, used)
        self._listener.landed(self, before - self.slabs)

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """Runs of views, each valid until the next is asked for; can be called again for a retry.

        Memory is one run; disk comes a window at a time. Raises OwnFault (the disk failed),
        ValueError (released).
        """
        self._check()
        views = [view for piece in self._memory for view in piece.views]
        if self._on_disk:
            extents = self._holding.extents(0, self._on_disk, self._spill.slab)
            async with aclosing(self._spill.read(extents)) as windows:
                async for window in windows:
                    self._check()  # its blocks may be another's by now
                    yield (window,)
        self._check()
        if views:
            yield views

    def _check(self) -> None:
        if self.is_released:
            raise ValueError("the part was released")

    def release(self) -> None:
        """Give memory and disk back. Idempotent."""
        if self.is_released:
            return
        self.is_released = True
        freed, self.slabs = self.slabs, 0
        for piece in self._memory:
            piece.release()
        self._memory = _NOTHING
        self._in_memory = 0
        if not self._writing:  # else when the write has ended
            self._spill.give(self._holding)
        self._listener.released(self, freed)
