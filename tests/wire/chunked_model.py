"""RFC 9112 section 7.1 as slowly and plainly as can be: the oracle of wire/chunked.pyx."""

import re
from dataclasses import dataclass

from fastproxy.errors import BadBody

MOST_SIZE_LINE, MOST_TRAILERS = 272, 8192
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


@dataclass
class Outcome:
    """What a stream of bytes is: its payload, what lies behind it, and whether it is whole."""

    payload: bytes = b""
    rest: bytes = b""
    is_done: bool = False


class _Incomplete(Exception):
    """There is less than is needed."""


class _Stream:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def line(self, most: int) -> bytes:
        """The next line without its CRLF. Raises BadBody, _Incomplete."""
        end = self.data.find(b"\n")
        if (len(self.data) if end < 0 else end + 1) > most + 2:
            raise BadBody("too long")
        if end < 0:
            raise _Incomplete
        line = self.take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise BadBody("line end")
        return line[:-2]


def read(data: bytes) -> Outcome:
    """Raises BadBody."""
    stream, outcome = _Stream(data), Outcome()
    try:
        while size := _size(stream):
            piece = stream.take(size)
            outcome.payload += piece
            if len(piece) == size:
                _end_of_chunk(stream)
        _trailers(stream)
    except _Incomplete:
        return outcome
    outcome.rest, outcome.is_done = stream.data, True
    return outcome


def _size(stream: _Stream) -> int:
    found = _SIZE_LINE.fullmatch(stream.line(MOST_SIZE_LINE))
    if found is None:
        raise BadBody("size")
    return int(found[1], 16)


def _end_of_chunk(stream: _Stream) -> None:
    end = stream.take(2)
    if not b"\r\n".startswith(end):
        raise BadBody("no CRLF")
    if len(end) < 2:
        raise _Incomplete


def _trailers(stream: _Stream) -> None:
    most = MOST_TRAILERS
    while line := stream.line(most):
        if _TRAILER_LINE.fullmatch(line) is None:
            raise BadBody("trailer")
        most = max(0, most - len(line) - 2)
