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
    size = len(raw) if end < 0 else end
    if size > limits.header_bytes:
        line = raw.find(b"\r\n", 0, size)
        if (size if line < 0 else line) > limits.target_bytes + _REQUEST_LINE_REST:
            raise TargetTooLong(f"over {limits.target_bytes} bytes")
        raise HeadTooLarge(f"over {limits.header_bytes} bytes")
    if end < 0:
        _refuse_hopeless(raw)
        return None
    end += len(END_OF_HEAD)
    return raw[:end], raw[end:]


def _refuse_hopeless(raw: bytes) -> None:
    if b"\n\n" in raw or b"\n\r\n" in raw:
        raise BadHead("bare LF ends the head")
    if raw and not _A <= raw[0] <= _Z and raw != b"\r":
        raise BadHead("not an HTTP/1 head")
