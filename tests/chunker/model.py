"""The chunker in plain Python: the specification that the compiled one is compared with.

Slow and clear: it moves one byte at a time and keeps no memory of its own, only counts of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Slab:
    """A slab in use; `owners` counts the part or tail, and each view, that keeps it."""

    pool: "ModelPool"
    filled: int = 0
    owners: int = 1

    def disown(self) -> None:
        self.owners -= 1
        if self.owners == 0:
            self.pool.used -= 1


@dataclass
class ModelPool:
    slab_size: int
    slab_count: int
    used: int = 0
    peak: int = 0

    def take(self) -> Slab | None:
        if self.used == self.slab_count:
            return None
        self.used += 1
        self.peak = max(self.peak, self.used)
        return Slab(self)


@dataclass
class ModelPart:
    number: int
    offset: int
    data: bytes
    is_whole: bool
    is_end: bool
    slabs: list[Slab]
    is_released: bool = False

    @property
    def views(self) -> list[bytes]:
        size = self.slabs[0].pool.slab_size if self.slabs else 1
        return [self.data[i : i + size] for i in range(0, len(self.data), size)]

    def release(self) -> None:
        if not self.is_released:
            self.is_released = True
            for slab in self.slabs:
                slab.disown()


@dataclass
class ModelChunker:
    pool: ModelPool
    size_of: Callable[[int], int]
    number: int = 1
    total: int = 0
    tail: bytes = b""
    slabs: list[Slab] = field(default_factory=list)
    handed_over: int = 0
    window: int = 0
    ready: list[ModelPart] = field(default_factory=list)
    is_finished: bool = False
    is_closed: bool = False

    @property
    def is_open(self) -> bool:
        return not self.is_finished and not self.is_closed

    @property
    def part_room(self) -> int:
        if not self.is_open:
            return 0
        return self.size_of(self.number) - self.handed_over - len(self.tail)

    @property
    def room(self) -> int:
        """How many bytes go in until one needs a slab that is not there."""
        if not self.is_open:
            return 0
        room, number, missing = 0, self.number, self.part_room
        slack, free = self._slack, self.pool.slab_count - self.pool.used
        while slack or free:
            if not slack:
                slack, free = self.pool.slab_size, free - 1
            room, slack, missing = room + 1, slack - 1, missing - 1
            if missing == 0:
                number, slack = number + 1, 0
                missing = self.size_of(number)
        return room

    @property
    def _slack(self) -> int:
        return sum(self.pool.slab_size - slab.filled for slab in self.slabs)

    def _has_slab(self) -> bool:
        """The next byte has a place, if need be in a new slab."""
        if self._slack == 0:
            slab = self.pool.take()
            if slab is None:
                return False
            self.slabs.append(slab)
        return True

    def feed(self, data: bytes) -> int:
        self.window = 0
        for count, byte in enumerate(data):
            if not self._has_slab():
                return count
            self._put(byte)
        return len(data)

    def _put(self, byte: int) -> None:
        self.tail += bytes([byte])
        self._open_slabs[0].filled += 1
        self.total += 1
        if self.part_room == 0:
            self._end_part()

    @property
    def _open_slabs(self) -> list[Slab]:
        return [slab for slab in self.slabs if slab.filled < self.pool.slab_size]

    def has_window(self) -> bool:
        """Whether the pool has a slab for a window, if it needs one."""
        return self._has_slab()

    def open_window(self, size: int, wanted: int) -> list[Slab]:
        """The slabs of a window of `size` bytes, of which the chunker alone knows how many it got.

        It ends with a slab or with the part, and no slab was taken that `wanted` does not need.
        """
        while self._slack < min(size, self.part_room):
            assert self._slack < wanted
            slab = self.pool.take()
            assert slab is not None
            self.slabs.append(slab)
        assert size == min(self._slack, self.part_room)
        self.window = size
        return self._open_slabs

    def buffer_updated(self, data: bytes) -> None:
        self.window = 0
        for byte in data:
            self._put(byte)
        self._drop_empty_slabs()

    def _drop_empty_slabs(self) -> None:
        while self.slabs and self.slabs[-1].filled == 0:
            self.slabs.pop().disown()

    def _hand_over(self, *, is_end: bool) -> ModelPart:
        self.window = 0
        self._drop_empty_slabs()
        part = ModelPart(
            number=self.number,
            offset=self.total - len(self.tail),
            data=self.tail,
            is_whole=is_end and self.handed_over == 0,
            is_end=is_end,
            slabs=self.slabs,
        )
        self.handed_over += len(self.tail)
        self.tail, self.slabs = b"", []
        return part

    def _end_part(self) -> None:
        self.ready.append(self._hand_over(is_end=True))
        self.number += 1
        self.handed_over = 0

    def take(self) -> ModelPart | None:
        if self.tail:
            return self._hand_over(is_end=False)
        self.window = 0
        self._drop_empty_slabs()
        return None

    def cut(self) -> None:
        if self.tail or self.handed_over:
            self._end_part()
        self.window = 0
        self._drop_empty_slabs()

    def finish(self) -> None:
        """At a part's end there is nothing to add, but an empty stream has one empty part."""
        if self.is_finished:
            return
        if self.total == 0:
            self._end_part()
        else:
            self.cut()
        self.is_finished = True

    def close(self) -> None:
        for slab in self.slabs:
            slab.disown()
        for part in self.ready:
            part.release()
        self.tail, self.slabs, self.ready, self.window = b"", [], [], 0
        self.is_finished, self.is_closed = False, True

    def next_part(self) -> ModelPart | None:
        return self.ready.pop(0) if self.ready else None
