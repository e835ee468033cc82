"""How a body ends: by length, by its last chunk, or with the connection (RFC 9112 section 6).

A decoder is given raw bytes and says which of them are payload, which comes out as views of what
went in. Trailers are read, bounded and dropped; chunk extensions likewise. The
decoder of bodies in chunks has a room of its own (chunked.pyx).
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

Piece = bytes | memoryview
# Views of what was read, or, when it is little, the bytes themselves.
Bytes = TypeVar("Bytes", bytes, memoryview)


class BodyDecoder(Protocol):
    """One body's framing."""

    @property
    def is_done(self) -> bool:
        """Whether the body's end was there."""
        ...

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """Payload views and the number of bytes of `data` that belong to this body.

        Raises BadBody. Bytes past the body's end are not taken. Those before it may be moved within
        memory that can be written to: afterwards only the views say what was payload.
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


def frame_chunk(pieces: Sequence[Piece]) -> list[Piece]:
    """`pieces` as one chunk. They must not be empty altogether: an empty chunk ends a body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"]


LAST_CHUNK = b"0\r\n\r\n"
