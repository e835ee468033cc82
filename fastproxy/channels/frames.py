"""Where the frames of a WebSocket begin and end, without taking them apart (RFC 6455 section 5.2).

Bytes pass as they come. Whoever wants to put a frame of its own between them has to know whether
the last byte was the end of a frame: between the frames of one message that is allowed, too.
"""

import os
import struct
from enum import IntEnum
from typing import Final

FINAL: Final = 0x80
MASKED: Final = 0x80
_LONG: Final = 126
_LONGER: Final = 127
_LENGTHS: Final = {_LONG: ">H", _LONGER: ">Q"}
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08  # this bit of it
_MAX_REASON: Final = 123  # bytes, of a control frame's 125


class Opcode(IntEnum):
    """Those of our own frames."""

    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frames:
    """One direction. `has_closed`: a close frame has passed, or its beginning."""

    __slots__ = ("_head", "_is_data", "_left", "has_closed")

    def __init__(self) -> None:
        self._head = b""  # of a frame whose head is not here yet
        self._left = 0  # payload bytes that follow
        self._is_data = False
        self.has_closed = False

    @property
    def is_between(self) -> bool:
        """Whether the bytes that have passed end with a frame."""
        return not self._left and not self._head

    def advance(self, data: memoryview) -> bool:
        """`data` passes; whether any of it is more than control frames."""
        at, size, has_data = 0, len(data), False
        while at < size:
            if not self._left:
                at += self._read_head(data[at : at + 14])
                has_data = has_data or (self._is_data and not self._head)
            step = min(self._left, size - at)
            self._left -= step
            at += step
            has_data = has_data or (step > 0 and self._is_data)
        return has_data

    def finish(self, data: memoryview) -> int:
        """Of `data` only what ends the frame that has begun passes; how many bytes that is."""
        at, size = 0, len(data)
        while at < size and not self.is_between:
            if not self._left:
                at += self._read_head(data[at : at + 14])
            step = min(self._left, size - at)
            self._left -= step
            at += step
        return at

    def _read_head(self, data: memoryview) -> int:
        """As much of a head as is here; the bytes it takes of `data`, which has one at least."""
        before = len(self._head)
        head = self._head + bytes(data)
        measures = measured(head)
        if measures is None or len(head) < measures[0]:
            self._head = head
            return len(data)
        self._head = b""
        self._is_data = not head[0] & _CONTROL
        self.has_closed = self.has_closed or head[0] & _OPCODE == Opcode.CLOSE
        size, self._left = measures
        return size - before


def measured(head: bytes | bytearray) -> tuple[int, int] | None:
    """Bytes of the head of a frame, with its mask, and of its payload; None while nobody knows."""
    if len(head) < 2:
        return None
    length = head[1] & 0x7F
    code = _LENGTHS.get(length, "")
    size = 2 + struct.calcsize(code)
    if len(head) < size:
        return None
    if code:
        (length,) = struct.unpack_from(code, head, 2)
    return size + (4 if head[1] & MASKED else 0), length


def frame(first: int, payload: bytes = b"", *, masked: bool = False) -> bytes:
    """One that begins with the byte `first`; towards a server it is masked (section 5.3)."""
    size, mark = len(payload), MASKED if masked else 0
    if size < _LONG:
        head = bytes((first, mark | size))
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, mark | _LONG, size)
    else:
        head = struct.pack(">BBQ", first, mark | _LONGER, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + xored(payload, mask)


def xored(payload: bytes, mask: bytes) -> bytes:
    """Masked, or what was masked: section 5.3, as one large number."""
    size = len(payload)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


def control_frame(opcode: Opcode, payload: bytes = b"", *, masked: bool = False) -> bytes:
    """A frame of our own."""
    return frame(FINAL | opcode, payload, masked=masked)


def close_payload(code: int, reason: str) -> bytes:
    """Of a close frame (section 5.5.1)."""
    return struct.pack(">H", code) + reason.encode("ascii")[:_MAX_REASON]
