"""Take out of photos what they tell of their makers, while they arrive.

Where a picture was taken, by whom and with what stands in segments beside the pixels: Exif, XMP,
IPTC, comments, and whatever follows the picture's end. They are overwritten in place, in the very
memory that the socket wrote into: no copy, no library that wants the whole file, no other length.
What shows the picture stays: pixels, colour profile, and which side is up.

JPEG (ITU T.81 annex B, Exif 2.32 section 4), PNG (PNG 3rd edition section 5) and WebP (RFC 9649)
are known by their first bytes, whatever the client calls them. Anything else passes as it is.
"""

import re
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import Final, Protocol

from fastproxy.errors import ClientFault, UnscrubbedImage
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.uploads.image_kinds import FIRST_BYTES, kind_of

_FOR_EVER: Final = 1 << 62
_ZEROS: Final = bytes(64 << 10)
_NONE: Final = memoryview(b"")
# Bytes that are looked at one by one, at half a microsecond each: of a photo some thousands. Of
# more a client could send so many a second that the worker had time for nothing else.
_STEPS: Final = 32 << 10
_BYTES_OF_A_STEP: Final = 32
_Parser = Generator[None, int, None]

# JPEG. In the pixels FF 00 is a byte FF, and FF D0 to FF D7 are restarts; all else ends them.
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_WITHIN_PIXELS: Final = frozenset({0x00, *range(0xD0, 0xD8)})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_END, _SCAN, _COMMENT = 0xD9, 0xDA, 0xFE
_APP1, _APP2 = 0xE1, 0xE2
_BLANKED: Final = frozenset({*range(0xE3, 0xEE), 0xEF, _COMMENT})  # APP0: JFIF, APP14: colours
_EXIF: Final = b"Exif\0\0"
_PROFILE: Final = b"ICC_PROFILE\0"

# Exif is a TIFF: byte order, 42, where the first directory is; a count; entries of 12 bytes.
_ORIENTATION: Final = 0x0112
_HEADERS: Final = {0x49: b"*\0\x08\0\0\0", 0x4D: b"\0*\0\0\0\x08"}
_NOTHING: Final = {0x49: b"\1\0\1\0\0\0\0\0\0\0", 0x4D: b"\0\1\0\0\0\1\0\0\0\0"}  # one byte 0
_EMPTY: Final = b"MM\0*\0\0\0\x08" + bytes(6)  # no entries, no other directory

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_BLANKED: Final = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"})
_RIFF_BLANKED: Final = frozenset({b"EXIF", b"XMP "})
_RIFF_FLAGS: Final = 0x0C  # of VP8X: there is Exif, there is XMP


class Scrubber:
    """One file on its way: every byte of it goes through `scrub`, in order.

    `is_tedious`: it is made of more pieces than a photo is. What follows is not scrubbed.
    """

    __slots__ = ("_after_ff", "_parser", "_steps", "_tape", "is_tedious")

    def __init__(self) -> None:
        self._tape = _Tape()
        self._after_ff = False
        self._steps = _STEPS  # that are left
        self.is_tedious = False
        self._parser = _file(self._tape)  # holds the tape and not us: there is no circle
        next(self._parser)

    def scrub(self, view: memoryview) -> None:
        """Overwrite in `view`, the next bytes of the file, what is not to be stored."""
        tape = self._tape
        tape.view = view
        at, end = 0, len(view)
        self._steps += end // _BYTES_OF_A_STEP
        while at < end and not self.is_tedious:
            if tape.left:
                at += tape.skip(at, end - at)
            elif tape.hunts and (at := self._hunt(at, end)) == end:
                break
            else:
                self._give(at)
                at += 1
                self._steps -= 1
                self.is_tedious = self._steps < 0
        tape.view = _NONE  # not ours any more

    def _hunt(self, at: int, end: int) -> int:
        """Where the code of the next marker is; `end` if not here."""
        view = self._tape.view
        while self._after_ff and at < end:
            self._after_ff = view[at] == 0xFF
            if view[at] not in _WITHIN_PIXELS and view[at] != 0xFF:
                self._tape.hunts = False
                return at
            at += 1
        found = _MARKER.search(view, at)
        if found is None:
            if at < end:
                self._after_ff = view[end - 1] == 0xFF
            return end
        self._tape.hunts = False
        return found.start() + 1

    def _give(self, at: int) -> None:
        self._tape.at = at
        try:
            self._parser.send(self._tape.view[at])
        except StopIteration:  # the end, or nothing we know
            if not self._tape.left:
                self._tape.leave(_FOR_EVER)


class Inlet(Protocol):
    """What takes an upload's bytes: a DirectSink that also copies. UploadBuffer is one."""

    def room(self) -> int: ...
    def get_buffer(self) -> memoryview: ...
    def buffer_updated(self, n: int) -> None: ...
    def feed(self, data: memoryview) -> int: ...


class ScrubbedBuffer:
    """An inlet that scrubs what lands in an upload's buffer.

    `on_refused` is called, once, for an image of a kind in `refused`; nothing is taken any more.
    """

    __slots__ = ("_buffer", "_first", "_is_refused", "_on_refused", "_refused", "_scrubber")

    def __init__(
        self,
        buffer: UploadBuffer,
        refused: Sequence[str],
        on_refused: Callable[[ClientFault], None],
    ) -> None:
        self._buffer = buffer
        self._scrubber = Scrubber()
        self._first = b""
        self._is_refused = False
        self._refused = refused
        self._on_refused = on_refused

    def room(self) -> int:
        """See UploadBuffer."""
        return self._buffer.room()

    def get_buffer(self) -> memoryview:
        """See UploadBuffer."""
        return self._buffer.get_buffer()

    def buffer_updated(self, n: int) -> None:
        """See UploadBuffer."""
        window = self._buffer.get_buffer()  # the one that was filled
        is_wanted = self._is_wanted(window[:n])
        del window  # or the slab would not be free for others
        if is_wanted:
            self._buffer.buffer_updated(n)

    def feed(self, data: memoryview) -> int:
        """See UploadBuffer. What it would not take is not looked at."""
        taken = 0
        while taken < len(data) and (room := self._buffer.room()):
            copy = bytearray(data[taken : taken + room])
            if not self._is_wanted(memoryview(copy)):
                return len(data)
            taken += self._buffer.feed(copy)
        return taken

    def _is_wanted(self, data: memoryview) -> bool:
        """Scrub what came, unless it is refused."""
        if self._is_refused:
            return False
        if len(self._first) < FIRST_BYTES:
            self._first += bytes(data[:FIRST_BYTES])
        self._scrubber.scrub(data)
        data.release()
        if (kind := kind_of(self._first)) in self._refused:
            self._refuse(f"images of the kind {kind} are not taken")
        elif self._scrubber.is_tedious:
            self._refuse("an image of more pieces than any photo")
        return not self._is_refused

    def _refuse(self, why: str) -> None:
        self._is_refused = True
        self._on_refused(UnscrubbedImage(why))


class _Tape:
    """The bytes that a parser is given one by one, and those that it passes over."""

    __slots__ = ("at", "blanks", "crc", "hunts", "left", "view")

    def __init__(self) -> None:
        self.view = _NONE
        self.at = 0  # of the byte that was given
        self.left = 0  # bytes that the parser needs not see ...
        self.blanks = False  # ... and that become zeros
        self.crc = 0  # of what was blanked
        self.hunts = False  # for the end of a scan

    def skip(self, at: int, most: int) -> int:
        """Pass over some bytes from `at` on, `most` at most; how many."""
        n = min(self.left, most)
        if self.blanks:
            n = min(n, len(_ZEROS))
            self.view[at : at + n] = _ZEROS[:n]
            self.crc = zlib.crc32(_ZEROS[:n], self.crc)
        self.left -= n
        return n

    def write(self, byte: int) -> None:
        """In place of the byte that was just given."""
        self.view[self.at] = byte

    def leave(self, n: int) -> None:
        self.left, self.blanks = n, False

    def blank(self, n: int) -> None:
        self.left, self.blanks = n, True

    def number(self, size: int, little: bool = False) -> Generator[None, int, int]:
        read = bytearray()
        while len(read) < size:
            read.append((yield))
        return int.from_bytes(read, "little" if little else "big")

    def name(self) -> Generator[None, int, bytes]:
        number = yield from self.number(4)
        return number.to_bytes(4, "big")

    def overwrite(self, wanted: bytes) -> _Parser:
        for byte in wanted:
            yield
            self.write(byte)


def _file(tape: _Tape) -> _Parser:
    first = yield
    if first == 0xFF:
        if (yield) == 0xD8:
            yield from _jpeg(tape)
    elif first == _PNG[0]:
        for byte in _PNG[1:]:
            if (yield) != byte:
                return
        yield from _png(tape)
    elif first == ord("R"):
        for byte in b"IFF":
            if (yield) != byte:
                return
        size = yield from tape.number(4, little=True)
        if (yield from tape.name()) == b"WEBP":
            yield from _webp(tape, size - 4)


def _jpeg(tape: _Tape) -> _Parser:
    is_code = False  # whether a hunt has found the marker already
    while True:
        if not is_code and (yield) != 0xFF:
            return
        code = yield
        while code == 0xFF:  # filling, B.1.1.2
            code = yield
        is_code = False
        if code == _END:
            tape.blank(_FOR_EVER)
            return
        if code in _STANDALONE:
            continue
        rest = (yield from tape.number(2)) - 2
        if rest < 0:
            return
        yield from _segment(tape, code, rest)
        if code == _SCAN:
            tape.hunts = is_code = True


def _segment(tape: _Tape, code: int, rest: int) -> _Parser:
    if code in _BLANKED:
        tape.blank(rest)
    elif code in (_APP1, _APP2):
        wanted = _EXIF if code == _APP1 else _PROFILE
        for byte in wanted:
            if not rest:
                return
            rest -= 1
            if (yield) != byte:
                tape.blank(rest)
                return
        if code == _APP2:
            tape.leave(rest)
        else:
            yield from _exif(tape, rest)
    else:
        tape.leave(rest)


def _exif(tape: _Tape, rest: int) -> _Parser:
    """All entries but the orientation become ones that say nothing."""
    if rest < len(_EMPTY):
        tape.blank(rest)
        return
    order = yield
    is_sound = order in _HEADERS
    if not is_sound:
        order = 0x4D
        tape.write(order)
    for byte in bytes([order]) + _HEADERS[order]:
        is_sound &= (yield) == byte
        tape.write(byte)
    rest -= 8
    if not is_sound:
        tape.blank(rest)
        return
    count = yield from tape.number(2, little=order == 0x49)
    rest -= 2
    while count and rest >= 12:
        yield from _entry(tape, order)
        count, rest = count - 1, rest - 12
    tape.blank(rest)  # the other directories, the preview, and all that entries point to


def _entry(tape: _Tape, order: int) -> _Parser:
    first = yield
    second = yield
    pair = (second, first) if order == 0x49 else (first, second)
    if pair == (_ORIENTATION >> 8, _ORIENTATION & 0xFF):
        tape.leave(10)
        return
    tape.write(0xFF)  # a tag that means nothing; its first byte may be out of our hands
    yield from tape.overwrite(_NOTHING[order])


def _png(tape: _Tape) -> _Parser:
    while True:
        length = yield from tape.number(4)
        name = yield from tape.name()
        if name not in _PNG_BLANKED:
            tape.leave(length + 4)
            if name == b"IEND":
                yield  # the first byte behind it
                tape.write(0)
                tape.blank(_FOR_EVER)
                return
            continue
        tape.crc = zlib.crc32(name)
        if name == b"eXIf" and length >= len(_EMPTY):
            yield from tape.overwrite(_EMPTY)
            tape.crc = zlib.crc32(_EMPTY, tape.crc)
            length -= len(_EMPTY)
        tape.blank(length)
        for shift in (24, 16, 8, 0):
            yield
            tape.write(tape.crc >> shift & 0xFF)


def _webp(tape: _Tape, left: int) -> _Parser:
    while left >= 8:
        name = yield from tape.name()
        length = yield from tape.number(4, little=True)
        padded = length + (length & 1)
        left -= 8 + padded
        if name in _RIFF_BLANKED:
            tape.blank(padded)
        elif name == b"VP8X" and padded:
            tape.write((yield) & ~_RIFF_FLAGS & 0xFF)
            tape.leave(padded - 1)
        else:
            tape.leave(padded)
    yield  # the first byte behind it
    tape.write(0)
    tape.blank(_FOR_EVER)
