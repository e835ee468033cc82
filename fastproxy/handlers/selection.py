"""What of a file or an object a request selects (RFC 9110 sections 13 and 14)."""

from dataclasses import dataclass

from fastproxy.handlers.conditions import (
    Unsatisfiable,
    Validators,
    precondition_status,
    requested_range,
)
from fastproxy.message import Headers, RequestHead

RANGES_TAKEN = (b"Accept-Ranges", b"bytes")


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer's status and fields, and `length` bytes from `offset` on as its body.

    `has_body` False: what is selected has none (304, 412, 416).
    """

    status: int
    fields: Headers
    offset: int = 0
    length: int = 0
    has_body: bool = False

    @property
    def content_length(self) -> int | None:
        """What the answer says of its length; 304 says nothing (RFC 9110 section 15.4.5)."""
        return None if self.status == 304 else self.length


def select(head: RequestHead, current: Validators, size: int) -> Selection:
    """What `head` asks for of something that has `size` bytes; all of it when it is not asked.

    Other methods than GET and HEAD have done what they do: their conditions are not ours to judge.
    """
    fields = [RANGES_TAKEN, (b"ETag", current.tag), (b"Last-Modified", current.last_modified)]
    if head.method not in (b"GET", b"HEAD"):
        return Selection(200, fields, 0, size, has_body=True)
    status = precondition_status(head, current)
    if status != 200:
        return Selection(status, fields)
    try:
        part = requested_range(head, current, size)
    except Unsatisfiable:
        return Selection(416, [*fields, (b"Content-Range", b"bytes */%d" % size)])
    if part is None:
        return Selection(200, fields, 0, size, has_body=True)
    first, length = part
    fields.append((b"Content-Range", b"bytes %d-%d/%d" % (first, first + length - 1, size)))
    return Selection(206, fields, first, length, has_body=True)
