"""The central directory of a zip archive, read by ranges (APPNOTE.TXT, sections 4.3 and 4.4).

An archive ends with the place of its directory, and the directory names every member: two or three
small reads tell what is in an archive of any size. Nothing is believed: every length is compared
with what is there, and all that is read and all that is kept has a limit.

The standard library's zipfile reads a directory in one piece and keeps an object for each member;
it is the oracle in the tests.
"""

import struct
from calendar import timegm
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

ReadRange = Callable[[int, int], Awaitable[bytes]]  # (start, length): exactly these bytes

_END: Final = struct.Struct("<4s4H2LH")
_END_MARK: Final = b"PK\5\6"
_MAX_COMMENT: Final = 0xFFFF
_LOCATOR: Final = struct.Struct("<4sLQL")
_LOCATOR_MARK: Final = b"PK\6\7"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_MARK: Final = b"PK\6\6"
_MEMBER: Final = struct.Struct("<4s6H3L5H2L")
_MEMBER_MARK: Final = b"PK\1\2"
_FIRST_TAIL: Final = 1 << 10  # most archives have no comment
_WINDOW: Final = 64 << 10  # a batch is at most 1,424 members: some 3 ms of the loop's time
_LARGEST_MEMBER: Final = _MEMBER.size + 3 * 0xFFFF

_ZIP64: Final = 0x0001  # header ids of extra fields
_TIMESTAMP: Final = 0x5455
_IN_EXTRA: Final = 0xFFFFFFFF


class NotAZip(Exception):
    """These bytes are no zip archive, or a damaged one."""


class TooLarge(Exception):
    """The directory is beyond the limits."""


class Limits(Struct, frozen=True):
    """What may be read and kept of one directory, in bytes and members."""

    directory_bytes: int = 32 << 20
    members: int = 100_000


DEFAULT_LIMITS: Final = Limits()


class Place(Struct, frozen=True):
    """Where the directory stands. `shift`: how many bytes stand before the archive itself."""

    start: int
    length: int
    shift: int


class Member(Struct, frozen=True):
    """One file or folder. Sizes in bytes; `offset` is where its local header stands."""

    name: bytes
    comment: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    made_by: int
    attributes: int
    dos_time: int
    dos_date: int
    extra: bytes


async def find_directory(read: ReadRange, size: int) -> Place:
    """Where the directory of an object of `size` bytes is. Raises NotAZip."""
    if size < _END.size:
        raise NotAZip("too small for one")
    for length in (_FIRST_TAIL, _END.size + _MAX_COMMENT):
        tail_start = max(0, size - length)
        tail = await read(tail_start, size - tail_start)
        at = _end_in(tail)
        if at >= 0:
            return await _place(read, tail, at, tail_start)
        if tail_start == 0:
            break
    raise NotAZip("no end of central directory")


def _end_in(tail: bytes) -> int:
    """Where the end record begins: the last one whose comment ends with the object."""
    at = tail.rfind(_END_MARK)
    while at >= 0:
        if at + _END.size <= len(tail):
            comment = _END.unpack_from(tail, at)[7]
            if at + _END.size + comment == len(tail):
                return at
        at = tail.rfind(_END_MARK, 0, at + len(_END_MARK) - 1)
    return -1


async def _place(read: ReadRange, tail: bytes, at: int, tail_start: int) -> Place:
    _, disk, first_disk, here, total, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at

    async def before(start: int, size: int) -> bytes:
        """Mostly in the tail already."""
        if start >= tail_start:
            return tail[start - tail_start :][:size]
        return await read(start, size)

    wide = await _wide_end(before, end)
    if wide is not None:
        end, length, offset = wide
    elif disk or first_disk or here != total:
        raise NotAZip("spans several disks")
    start = end - length
    if start < 0 or start < offset:
        raise NotAZip("the directory begins before the archive")
    return Place(start, length, start - offset)


async def _wide_end(read: ReadRange, end: int) -> tuple[int, int, int] | None:
    """Sections 4.3.14 and 4.3.15: a record of 64-bit numbers before the end record, if any."""
    at = end - _LOCATOR.size
    if at < 0:
        return None
    mark, disk, offset, disks = _LOCATOR.unpack(await read(at, _LOCATOR.size))
    if mark != _LOCATOR_MARK:
        return None
    if disk or disks > 1:
        raise NotAZip("spans several disks")
    # Its own offset does not count what stands before the archive; where it must be does.
    at -= _END64.size
    if at < 0 or offset > at:
        raise NotAZip("the zip64 record begins before the archive")
    fields = _END64.unpack(await read(at, _END64.size))
    if fields[0] != _END64_MARK:
        raise NotAZip("no zip64 record")
    return at, fields[8], fields[9]


async def members(
    read: ReadRange, place: Place, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[list[Member]]:
    """All members in the directory's order, in batches small enough to give way between them.

    Raises NotAZip and TooLarge.
    """
    if place.length > limits.directory_bytes:
        raise TooLarge(f"a directory of {place.length} bytes")
    rest, at, end, count = b"", place.start, place.start + place.length, 0
    while at < end:
        window = await read(at, min(_WINDOW, end - at))
        at += len(window)
        rest += window
        batch, used = _whole(rest, place.shift)
        rest = rest[used:]
        count += len(batch)
        if count > limits.members:
            raise TooLarge(f"more than {limits.members} members")
        if len(rest) > _LARGEST_MEMBER:
            raise NotAZip("a member that does not end")
        yield batch
    if rest:
        raise NotAZip("the directory ends within a member")


def _whole(data: bytes, shift: int) -> tuple[list[Member], int]:
    """The members that are whole in `data`, and how many bytes they take."""
    found, at = [], 0
    while at + _MEMBER.size <= len(data):
        fields = _MEMBER.unpack_from(data, at)
        if fields[0] != _MEMBER_MARK:
            raise NotAZip("no member where one should be")
        name_at = at + _MEMBER.size
        extra_at = name_at + fields[10]
        comment_at = extra_at + fields[11]
        end = comment_at + fields[12]
        if end > len(data):
            break
        texts = data[name_at:extra_at], data[extra_at:comment_at], data[comment_at:end]
        found.append(_member(fields, *texts, shift))
        at = end
    return found, at


def _member(
    fields: tuple[Any, ...], name: bytes, extra: bytes, comment: bytes, shift: int
) -> Member:
    _, made_by, _, flags, method, time, date, crc, packed, size = fields[:10]
    attributes, offset = fields[15], fields[16]
    if _IN_EXTRA in (size, packed, offset):
        size, packed, offset = _wide(extra, size, packed, offset)
    return Member(
        name, comment, flags, method, crc, packed, size, offset + shift,
        made_by, attributes, time, date, extra,
    )  # fmt: skip


def _wide(extra: bytes, *narrow: int) -> tuple[int, ...]:
    """Section 4.5.3: those that do not fit 32 bits follow each other in the zip64 field."""
    field = extra_field(extra, _ZIP64)
    wide, at = [], 0
    for number in narrow:
        if number == _IN_EXTRA and at + 8 <= len(field):
            number = int.from_bytes(field[at : at + 8], "little")  # noqa: PLW2901
            at += 8
        wide.append(number)
    return tuple(wide)


def extra_field(extra: bytes, wanted: int) -> bytes:
    """The data of the first extra field of that header id; empty without one (section 4.5.1)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == wanted:
            return extra[at : at + length]
        at += length
    return b""


def modified(member: Member) -> int:
    """Unix seconds: the extended timestamp, else the DOS time taken as UTC. 0: none.

    As Go's archive/zip does, for which the runner's archives are made.
    """
    stamp = extra_field(member.extra, _TIMESTAMP)
    if len(stamp) >= 5 and stamp[0] & 1:
        return int.from_bytes(stamp[1:5], "little", signed=True)
    return _dos_seconds(member.dos_date, member.dos_time)


def _dos_seconds(date: int, time: int) -> int:
    fields = (
        (date >> 9) + 1980, date >> 5 & 15, date & 31,
        time >> 11, time >> 5 & 63, (time & 31) * 2,
    )  # fmt: skip
    if not 1 <= fields[1] <= 12 or not 1 <= fields[2] <= 31:
        return 0
    return timegm(fields)


_UNIX: Final = frozenset({3, 19})  # section 4.4.2.2: Unix, OS X
_READ_ONLY: Final = 1
_FOLDER: Final = 16


def permissions(member: Member) -> int:
    """The lowest nine bits of its mode; what DOS knows of them is "read only"."""
    if member.made_by >> 8 in _UNIX:
        return member.attributes >> 16 & 0o777
    if member.attributes & _FOLDER:
        return 0o777
    return 0o444 if member.attributes & _READ_ONLY else 0o666
