"""What a body is, by its first bytes and not by what its name or the backend says.

A file that a user stored as `picture.png` may be HTML, and would run as such beneath the
application's name. So all text becomes text/plain, and what is not safe to show is an attachment.
The types are those of the WHATWG's MIME Sniffing Standard that browsers show by themselves.
"""

import re
from collections.abc import Sequence
from typing import Final

from fastproxy.errors import FastproxyError
from fastproxy.exchange import PENDING, STARTED, Stage
from fastproxy.handlers.reply import Reply
from fastproxy.message import Headers, ResponseHead, find_header
from fastproxy.wire.framing import Piece

LOOKED_AT: Final = 4096  # bytes

_TRUE: Final = frozenset({b"1", b"t", b"true"})  # as Go reads a boolean
# A comment ends at its first mark, and nothing is tried twice: many would take for ever else.
_COMMENTS: Final = rb"(?:<!--(?>.*?-->)\s*+)*+"
_SVG: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?:<\?xml\b[^>]*+>\s*+)?+%b(?:<!doctype\s+svg\b[^>]*+>\s*+)?+%b<svg\b"
    % (_COMMENTS, _COMMENTS),
    re.IGNORECASE | re.DOTALL,
).match
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]").search
_MARKS: Final = (
    (re.compile(rb"%PDF-").match, b"application/pdf"),
    (re.compile(rb"GIF8[79]a").match, b"image/gif"),
    (re.compile(rb"\x89PNG\r\n\x1a\n").match, b"image/png"),
    (re.compile(rb"\xff\xd8\xff").match, b"image/jpeg"),
    (re.compile(rb"RIFF.{4}WEBPVP", re.DOTALL).match, b"image/webp"),
    (re.compile(rb"BM.{4}\x00{4}", re.DOTALL).match, b"image/bmp"),
    (re.compile(rb"\x00\x00\x01\x00").match, b"image/x-icon"),
    (re.compile(rb".{4}ftypavif", re.DOTALL).match, b"image/avif"),
    (re.compile(rb".{4}ftyp", re.DOTALL).match, b"video/mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3").match, b"video/webm"),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL).match, b"video/avi"),
    (re.compile(rb"\x1f\x8b\x08").match, b"application/x-gzip"),
    (re.compile(rb"PK\x03\x04").match, b"application/zip"),
)
_BOMS: Final = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")
_SHOWN: Final = (b"image/", b"text/", b"video/", b"application/pdf")


def wants_detection(head: ResponseHead, detect_field: bytes) -> bool:
    """Whether a backend wants it. `detect_field`: that of its dialect, in lower case."""
    return any(
        name == detect_field and value.strip().lower() in _TRUE for name, value in head.controls
    )


def content_type_of(first: bytes) -> bytes:
    """The type of a body that begins so."""
    if _SVG(first):
        return b"image/svg+xml"
    for matches, type_ in _MARKS:
        if matches(first):
            return type_
    if first.startswith(_BOMS) or not _BINARY(first):
        return b"text/plain; charset=utf-8"
    return b"application/octet-stream"


def detected(first: bytes, disposition: bytes | None) -> Headers:
    """Fields for a body that begins with `first`, in place of those of the same names.

    Of the backend's Content-Disposition only the first word changes: names of files stay.
    """
    type_ = content_type_of(first)
    word, semicolon, rest = (disposition or b"").partition(b";")
    if word.strip().lower() != b"attachment":
        is_shown = type_.startswith(_SHOWN) and type_ != b"image/svg+xml"
        word = b"inline" if is_shown else b"attachment"
    return [
        (b"Content-Type", type_),
        (b"Content-Disposition", word.strip() + semicolon + rest),
        (b"X-Content-Type-Options", b"nosniff"),
    ]


class Detecting:
    """A Reply before another one: it holds the head back until enough of the body is there."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._head: ResponseHead | None = None
        self._first = b""
        self.backend_s = reply.backend_s
        self.retries = reply.retries

    @property
    def stage(self) -> Stage:
        """See Reply."""
        stage = self._reply.stage
        return STARTED if stage is PENDING and self._head is not None else stage

    def interim(self, head: ResponseHead) -> None:
        """See Reply."""
        self._reply.interim(head)

    def respond(self, head: ResponseHead) -> None:
        """See Reply."""
        self._head = head

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply."""
        if self._head is None:
            self._reply.write(pieces)
            return
        self._first += b"".join(pieces)
        if len(self._first) >= LOOKED_AT:
            self._begin(self._head)

    def _begin(self, head: ResponseHead) -> None:
        first, self._head = self._first, None
        if first:
            fields = detected(first[:LOOKED_AT], find_header(head.headers, b"content-disposition"))
            names = {name.lower() for name, _ in fields}
            head.headers = [field for field in head.headers if field[0].lower() not in names]
            head.headers += fields
        self._reply.respond(head)
        if first:
            self._reply.write([first])
        self._first = b""

    def flush(self) -> None:
        """See Reply."""
        if self._head is None:
            self._reply.flush()

    def end(self) -> None:
        """See Reply."""
        if self._head is not None:
            self._begin(self._head)
        self._reply.end()

    def begin_tunnel(self, head: ResponseHead) -> None:
        """See Reply."""
        self._reply.begin_tunnel(head)

    def end_tunnel_answer(self) -> None:
        """See Reply."""
        self._reply.end_tunnel_answer()

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
        self._reply.fail(fault)
