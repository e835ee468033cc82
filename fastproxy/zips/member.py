"""One member out of an archive in a store: where its bytes are, and how they unfold.

Only stored and deflated members are served; those are what every tool writes. What comes out is
counted: never more than the directory promises, so a bomb ends at the size that was told, and the
checksum is compared before the last byte is given.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from fastproxy.zips.directory import (
    DEFAULT_LIMITS,
    Limits,
    Member,
    NotAZip,
    Place,
    ReadRange,
    members,
)

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MARK: Final = b"PK\3\4"
_STORED: Final = 0
_DEFLATED: Final = 8
_ENCRYPTED: Final = 1  # a bit of the flags
_PIECE: Final = 64 << 10


async def find_member(
    read: ReadRange, place: Place, name: bytes, limits: Limits = DEFAULT_LIMITS
) -> Member | None:
    """The first member of that name. Raises NotAZip and TooLarge."""
    async for batch in members(read, place, limits):
        for member in batch:
            if member.name == name:
                return member
    return None


async def data_start(read: ReadRange, member: Member, size: int) -> int:
    """Where its packed bytes begin, which only the local header says; the archive has `size` bytes.

    Raises NotAZip.
    """
    if member.offset + _LOCAL.size > size:
        raise NotAZip("a member that begins behind the archive")
    head = await read(member.offset, _LOCAL.size)
    fields = _LOCAL.unpack(head)
    if fields[0] != _LOCAL_MARK:
        raise NotAZip("no local header where one should be")
    start: int = member.offset + _LOCAL.size + fields[9] + fields[10]
    if start + member.packed > size:
        raise NotAZip("a member that ends behind the archive")
    return start


class Unpacking:
    """Packed bytes in, the member's bytes out. Raises NotAZip when they are not what was told."""

    def __init__(self, member: Member) -> None:
        if member.flags & _ENCRYPTED or member.method not in (_STORED, _DEFLATED):
            raise NotAZip("encrypted, or packed in a way that is not served")
        if member.method == _STORED and member.packed != member.size:
            raise NotAZip("a stored member of two sizes")
        self._member = member
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
        self._crc = 0
        self._left = member.size

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What comes out of these, in pieces of at most 64 KiB."""
        if self._inflate is None:
            yield self._count(packed)
            return
        piece = b""
        while (packed or len(piece) == _PIECE) and not self._inflate.eof:
            try:  # once more after a full piece: zlib may hold some of what has come out
                piece = self._inflate.decompress(packed, _PIECE)
            except zlib.error as error:
                raise NotAZip(str(error)) from None
            packed = self._inflate.unconsumed_tail
            if piece:
                yield self._count(piece)

    def _count(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise NotAZip("a member larger than the directory says")
        self._crc = zlib.crc32(piece, self._crc)
        if not self._left and self._crc != self._member.crc:
            raise NotAZip("a member with another checksum")
        return piece

    def finish(self) -> None:
        """All packed bytes were fed. Raises NotAZip when something is missing."""
        if self._left:
            raise NotAZip("a member smaller than the directory says")
