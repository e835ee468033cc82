"""What a Range field asks for of so many bytes (RFC 9110 section 14), as pure functions."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

MOST_RANGES: Final = 200  # of one request, as Apache httpd takes; each costs a head of its own
RangeSpec = tuple[int | None, int | None]  # first byte and last; no first: so many at the end
_SPEC: Final = re.compile(rb"[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*").fullmatch


class Span(Struct, frozen=True, order=True):
    """`length` bytes from `offset` on."""

    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    @property
    def end(self) -> int:
        """Where the next byte is."""
        return self.offset + self.length

    def after(self, count: int) -> "Span":
        """All but the first `count` bytes."""
        return Span(self.offset + count, self.length - count)


class Unsatisfiable(Exception):
    """All ranges begin behind the end."""


def parsed_ranges(value: bytes) -> list[RangeSpec]:
    """The ranges in their order; none for what does not parse, or is too much to ask for."""
    unit, _, text = value.partition(b"=")
    items = text.split(b",", MOST_RANGES)
    if unit.lower() != b"bytes" or len(items) > MOST_RANGES:
        return []
    specs: list[RangeSpec] = []
    for item in items:
        if item.strip(b" \t"):  # an empty one counts for nothing (section 5.6.1)
            spec = _parsed(item)
            if spec is None:
                return []
            specs.append(spec)
    return specs


def _parsed(item: bytes) -> RangeSpec | None:
    match = _SPEC(item)
    if match is None or match[1] == match[2] == b"":
        return None
    first, last = (int(text) if text else None for text in match.groups())
    is_backward = first is not None and last is not None and last < first
    return None if is_backward else (first, last)


def spans_of(specs: Sequence[RangeSpec], size: int) -> list[Span]:
    """The bytes that are there, in the order of the ranges; none: send all, for they overlap.

    What they lead to is then never larger than the file, but for its heads (section 14.2).
    Raises Unsatisfiable.
    """
    spans = [span for spec in specs if (span := _span(spec, size)) is not None]
    if not spans:
        raise Unsatisfiable
    overlap = any(one.end > other.offset for one, other in pairwise(sorted(spans)))
    return [] if overlap else spans


def _span(spec: RangeSpec, size: int) -> Span | None:
    first, last = spec
    if first is None:
        first, last = max(size - (last or 0), 0), None
    if first >= size:
        return None
    return Span(first, min(size - 1 if last is None else last, size - 1) - first + 1)
