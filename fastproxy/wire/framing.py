"""How a body ends: by length, by its last chunk, or with the connection (RFC 9112 section 6).

A decoder is given raw bytes and says which of them are payload. It never copies: payload comes out
as views of what went in. Trailers are read, bounded and dropped; chunk extensions likewise.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol, TypeVar

from fastproxy.errors import BadBody

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z").match
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\Z").match
_MAX_SIZE_LINE = 272  # 15 digits and 256 bytes of extension
_MAX_TRAILERS = 8192


Piece = bytes | memoryview
# Views of what was read, or, when it is little, the bytes themselves.
Bytes = TypeVar("Bytes", bytes, memoryview)


class BodyDecoder(Protocol):
    """One body's framing."""

    is_done: bool

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """Payload views and the number of bytes of `data` that belong to this body.

        Raises BadBody. Bytes past the body's end are not taken.
        """
        ...

    def squeeze(self, window: memoryview) -> tuple[int, int]:
        """Like `decode`, but payload is moved together at the front of `window`, over the framing.

        How much it is, and the number of bytes of `window` that belong to this body.
        """
        ...

    def reach(self, beyond: int) -> int:
        """How many bytes to read so that at most `beyond` of them are not of this body."""
        ...

    def at_eof(self) -> bool:
        """Whether the end of the connection is a proper end of this body."""
        ...


class LengthDecoder:
    """A body of `length` bytes."""

    __slots__ = ("is_done", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.is_done = length == 0

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """See BodyDecoder."""
        size = len(data)
        if size >= self.remaining:
            size = self.remaining
            self.is_done = True
            data = data[:size]
        self.remaining -= size
        return ([data] if size else []), size

    def squeeze(self, window: memoryview) -> tuple[int, int]:
        """See BodyDecoder."""
        size = min(len(window), self.remaining)
        self.remaining -= size
        self.is_done = self.remaining == 0
        return size, size

    def reach(self, beyond: int) -> int:
        """See BodyDecoder."""
        return self.remaining

    def at_eof(self) -> bool:
        """See BodyDecoder."""
        return self.is_done


class UntilCloseDecoder:
    """Bytes until the peer closes: old responses, and tunnels."""

    __slots__ = ("is_done",)

    def __init__(self) -> None:
        self.is_done = False

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """See BodyDecoder."""
        return [data], len(data)

    def squeeze(self, window: memoryview) -> tuple[int, int]:
        """See BodyDecoder."""
        return len(window), len(window)

    def reach(self, beyond: int) -> int:
        """See BodyDecoder."""
        return 1 << 62

    def at_eof(self) -> bool:
        """See BodyDecoder."""
        self.is_done = True
        return True


class _Chunk(IntEnum):
    SIZE = 0  # reading a chunk-size line
    DATA = 1  # inside a chunk
    DATA_END = 2  # the CRLF behind a chunk
    TRAILER = 3  # lines behind the last chunk, up to an empty one
    DONE = 4


_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = _Chunk


class ChunkedDecoder:
    """RFC 9112 section 7.1, with nothing forgiven."""

    __slots__ = ("_line", "_remaining", "_state", "_trailer_bytes", "is_done")

    def __init__(self) -> None:
        self._state = _SIZE
        self._remaining = 0
        self._line = b""
        self._trailer_bytes = 0
        self.is_done = False

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """See BodyDecoder."""
        pieces: list[Bytes] = []
        at, end = 0, len(data)
        while at < end and not self.is_done:
            if self._state is _DATA:
                step = self._pass(end - at)
                pieces.append(data[at : at + step])
                at += step
            else:
                at = self._read_line(data, at)
        return pieces, at

    def squeeze(self, window: memoryview) -> tuple[int, int]:
        """See BodyDecoder."""
        size, at, end = 0, 0, len(window)
        while at < end and not self.is_done:
            if self._state is _DATA:
                step = self._pass(end - at)
                if size < at:
                    window[size : size + step] = window[at : at + step]
                size += step
                at += step
            else:
                at = self._read_line(window, at)
        return size, at

    def reach(self, beyond: int) -> int:
        """See BodyDecoder."""
        return self._remaining + beyond

    def at_eof(self) -> bool:
        """See BodyDecoder."""
        return self.is_done

    def _pass(self, available: int) -> int:
        """How many of the next bytes are of this chunk; they are behind us now."""
        step = min(available, self._remaining)
        self._remaining -= step
        if not self._remaining:
            self._state = _DATA_END
        return step

    def _read_line(self, data: Bytes, at: int) -> int:
        """Read on in a line; the position behind what was read."""
        limit = self._line_limit()
        window = bytes(data[at : at + limit + 2])
        newline = window.find(b"\n")
        taken = window if newline < 0 else window[: newline + 1]
        line = self._line + taken
        if len(line) > limit + 2:
            raise BadBody("chunk line too long")
        if newline < 0:
            self._line = line
            if self._state is _DATA_END and not b"\r\n".startswith(line):
                raise BadBody("no CRLF behind chunk")
        else:
            self._line = b""
            if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                raise BadBody("bare CR or LF in chunk framing")
            self._on_line(line[:-2])
        return at + len(taken)

    def _line_limit(self) -> int:
        if self._state is _SIZE:
            return _MAX_SIZE_LINE
        if self._state is _DATA_END:
            return 0
        return _MAX_TRAILERS - self._trailer_bytes

    def _on_line(self, line: bytes) -> None:
        if self._state is _SIZE:
            match = _SIZE_LINE(line)
            if match is None:
                raise BadBody("chunk size")
            self._remaining = int(match[1], 16)
            self._state = _DATA if self._remaining else _TRAILER
        elif self._state is _DATA_END:
            if line:
                raise BadBody("no CRLF behind chunk")
            self._state = _SIZE
        elif line:
            self._trailer_bytes += len(line) + 2
            if _TRAILER_LINE(line) is None:
                raise BadBody("trailer")
        else:
            self._state = _DONE
            self.is_done = True


def frame_chunk(pieces: Sequence[Piece]) -> list[Piece]:
    """`pieces` as one chunk. They must not be empty altogether: an empty chunk ends a body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"]


LAST_CHUNK = b"0\r\n\r\n"
