"""Bodies that say where each of their bytes belongs, so that a store can judge them and keep none.

A body is named NUMBER-SIZE. Its bytes come from one endless stream of 8-byte words, each of which
tells its place in the stream; NUMBER says where the body begins. The stream repeats after a prime
number of words, some 32 MiB, so no two parts of a usual size look alike.
So the first 16 bytes of any part show where the rest must come from, and comparing costs one memcmp
and no copy.
"""

import re
from array import array
from dataclasses import dataclass
from functools import cache
from typing import Final

_WORDS: Final = (1 << 22) - 3  # a prime
PERIOD: Final = _WORDS * 8  # bytes
WINDOW: Final = 1 << 20  # the longest piece, in bytes
LOCATING: Final = 16  # bytes that surely hold a whole word, wherever they begin
_FACTOR: Final = 0x2F5_1B63_A4C7  # times the largest place: just within 64 bits
_STRIDE: Final = 40_503 * 8  # neighbours begin far from each other; no two of 4 million alike


@cache
def _stream() -> bytes:
    """One period and a window. No word is 0: an empty page is no part of any body."""
    words = array("Q", range(_FACTOR, _FACTOR * (_WORDS + 1), _FACTOR))
    period = words.tobytes()
    return period + period[:WINDOW]


def prepare() -> None:
    """Make the stream now; processes that are forked afterwards share it."""
    _stream()


def piece(place: int, size: int) -> memoryview:
    """`size` bytes, at most WINDOW, from `place` of the stream on."""
    place %= PERIOD
    return memoryview(_stream())[place : place + size]


def matches(data: memoryview, place: int) -> bool:
    """Whether `data` (at most WINDOW) is what stands at `place` of the stream."""
    return _stream().startswith(data, place % PERIOD)


def locate(start: bytes) -> int | None:
    """The place in the stream of LOCATING bytes, or None if they are not of it."""
    for shift in range(8):
        word, rest = divmod(int.from_bytes(start[shift : shift + 8], "little"), _FACTOR)
        place = word * 8 - 8 - shift
        if not rest and place < PERIOD and matches(memoryview(start), place):
            return place % PERIOD
    return None


@dataclass(frozen=True, slots=True)
class Body:
    """One body by its name."""

    number: int
    size: int

    @property
    def name(self) -> str:
        """NUMBER-SIZE."""
        return f"{self.number}-{self.size}"

    @property
    def start(self) -> int:
        """Where in the stream it begins."""
        return self.number * _STRIDE % PERIOD


def named(key: str) -> Body | None:
    """The body that an object's key names with what follows its last "/", if it does."""
    found = re.fullmatch(r"(\d+)-(\d+)", key.rpartition("/")[2])
    return None if found is None else Body(int(found[1]), int(found[2]))
