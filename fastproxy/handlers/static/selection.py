"""What of a file or an object a request selects (RFC 9110 sections 13 and 14)."""

import secrets
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from fastproxy.handlers.static.conditions import (
    Validators,
    precondition_status,
    requested_spans,
)
from fastproxy.handlers.static.ranges import Span, Unsatisfiable
from fastproxy.message import Headers, RequestHead
from fastproxy.wire.serialize import field_lines

RANGES_TAKEN = (b"Accept-Ranges", b"bytes")
# They are said of each part, as the parts together are another thing (section 15.3.7.2).
_OF_EACH_PART: Final = frozenset({b"content-type", b"content-encoding"})

Piece = bytes | Span  # bytes as they are, or where they stand in the file


class Body(Struct, frozen=True):
    """An answer's body, and the fields that say what it is."""

    fields: Headers
    pieces: Sequence[Piece]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))


class Selection(Struct, frozen=True):
    """The answer's status and fields, and what it gives of `size` bytes.

    No `spans`: what is selected has no body (304, 412, 416).
    """

    status: int
    fields: Headers
    spans: Sequence[Span] = ()
    size: int = 0

    @property
    def has_body(self) -> bool:
        """Whether there is a body; it may be empty."""
        return bool(self.spans)

    def body(self, fields: Headers) -> Body:
        """The body; `fields` say what all of the file is."""
        if len(self.spans) > 1:
            return _multipart(self.spans, self.size, fields)
        return Body(fields, [span for span in self.spans if span])

    def content_length(self, body: Body) -> int | None:
        """What the answer says of its length; 304 says nothing (RFC 9110 section 15.4.5)."""
        return None if self.status == 304 else len(body)


def select(head: RequestHead, current: Validators, size: int) -> Selection:
    """What `head` asks for of something that has `size` bytes; all of it when it is not asked.

    Other methods than GET and HEAD have done what they do: their conditions are not ours to judge.
    """
    fields = [RANGES_TAKEN, (b"ETag", current.tag), (b"Last-Modified", current.last_modified)]
    whole = Selection(200, fields, [Span(0, size)], size)
    if head.method not in (b"GET", b"HEAD"):
        return whole
    status = precondition_status(head, current)
    if status != 200:
        return Selection(status, fields)
    try:
        spans = requested_spans(head, current, size)
    except Unsatisfiable:
        return Selection(416, [*fields, (b"Content-Range", b"bytes */%d" % size)])
    if not spans:
        return whole
    if len(spans) == 1:
        fields.append(_content_range(spans[0], size))
    return Selection(206, fields, spans, size)


def _content_range(span: Span, size: int) -> tuple[bytes, bytes]:
    return b"Content-Range", b"bytes %d-%d/%d" % (span.offset, span.end - 1, size)


def _multipart(spans: Sequence[Span], size: int, fields: Headers) -> Body:
    """multipart/byteranges (section 14.6). No file holds a boundary that nobody could know."""
    boundary = secrets.token_hex(16).encode("ascii")
    said = [field for field in fields if field[0].lower() in _OF_EACH_PART]
    kept = [field for field in fields if field[0].lower() not in _OF_EACH_PART]
    pieces: list[Piece] = []
    for span in spans:
        about = field_lines([*said, _content_range(span, size)])
        line_end = b"\r\n" if pieces else b""
        pieces += [b"%b--%b\r\n%b\r\n" % (line_end, boundary, about), span]
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    type_ = b"multipart/byteranges; boundary=%b" % boundary
    return Body([*kept, (b"Content-Type", type_)], pieces)
