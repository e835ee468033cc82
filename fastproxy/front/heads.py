"""Where a request head ends in what was read, and what no further byte can make right."""

from fastproxy.config.schema import Limits
from fastproxy.errors import BadHead, HeadTooLarge, TargetTooLong
from fastproxy.wire.head import END_OF_HEAD

_CR, _A, _Z = 13, 65, 90
_REQUEST_LINE_REST = 64  # a request line holds a method and a version, too


def skip_blank_lines(raw: bytes) -> bytes:
    """`raw` without leading CRLFs, which old clients send behind a body (RFC 9112 section 2.2)."""
    if not raw or raw[0] != _CR:
        return raw
    at = 0
    while raw.startswith(b"\r\n", at):
        at += 2
    return raw[at:]


def split_head(raw: bytes, limits: Limits) -> tuple[bytes, bytes] | None:
    """A whole head with its empty line, and what follows it; None when more is needed.

    `raw` has no leading blank line. Raises BadHead, HeadTooLarge and TargetTooLong.
    """
    end = raw.find(END_OF_HEAD)
    # What has come of the empty line does not count; it may be all but its last byte.
    size = end if end >= 0 else len(raw) - len(END_OF_HEAD) + 1
    if size > limits.header_bytes:
        _refuse_long_line(raw, limits)
        raise HeadTooLarge(f"over {limits.header_bytes} bytes")
    if end < 0:
        _refuse_hopeless(raw, limits)
        return None
    end += len(END_OF_HEAD)
    return raw[:end], raw[end:]


def is_news(raw: bytes, size: int, limits: Limits) -> bool:
    """Whether `split_head` can say anything else of `raw` than before its last `size` bytes came.

    To ask it for each byte of a head that comes byte by byte cost the square of them.
    """
    before = len(raw) - size
    return (
        before < len(b"\r\n")
        or raw.find(b"\n", before) >= 0
        or before < _longest_line(limits) <= len(raw)
        or before < limits.header_bytes + len(END_OF_HEAD) <= len(raw)
    )


def _longest_line(limits: Limits) -> int:
    return limits.target_bytes + _REQUEST_LINE_REST + 2


def _refuse_long_line(raw: bytes, limits: Limits) -> None:
    longest = _longest_line(limits)
    if len(raw) >= longest and raw.find(b"\r\n", 0, longest) < 0:
        raise TargetTooLong(f"over {limits.target_bytes} bytes")


def _refuse_hopeless(raw: bytes, limits: Limits) -> None:
    """Whoever is refused now holds nothing until its head is complete or late."""
    if b"\n\n" in raw or b"\n\r\n" in raw:
        raise BadHead("bare LF ends the head")
    if raw and not _A <= raw[0] <= _Z and raw != b"\r":
        raise BadHead("not an HTTP/1 head")
    _refuse_long_line(raw, limits)
    if raw.count(b"\n") > limits.header_count + 1:
        raise HeadTooLarge(f"over {limits.header_count} fields")
