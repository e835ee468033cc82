"""Conditional requests and ranges (RFC 9110 sections 13 and 14), as pure functions."""

import re
from dataclasses import dataclass
from email.utils import formatdate, mktime_tz, parsedate_tz

from fastproxy.message import RequestHead

_TAGS = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').findall
_RANGE = re.compile(rb"(?i:bytes)=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*\Z").match


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a file from another. `seconds`: Unix time of its last change."""

    tag: bytes
    seconds: int

    @classmethod
    def of(cls, mtime_ns: int, size: int, coding: str = "") -> "Validators":
        """Both from what the file system knows; `coding`: of a form of the same file."""
        form = b"-%b" % coding.encode("ascii") if coding else b""
        return cls(b'"%x-%x%b"' % (max(mtime_ns, 0), size, form), mtime_ns // 1_000_000_000)

    @property
    def last_modified(self) -> bytes:
        """The time as an HTTP-date."""
        return formatdate(self.seconds, usegmt=True).encode("ascii")


class Unsatisfiable(Exception):
    """The range begins behind the end."""


def precondition_status(head: RequestHead, current: Validators) -> int:
    """200 (go on), 304 or 412, judged in the order of RFC 9110 section 13.2.2."""
    match = _joined(head, b"if-match")
    if match is not None:
        if not _is_listed(match, current.tag, weak=False):
            return 412
    elif (date := _date(head, b"if-unmodified-since")) is not None and current.seconds > date:
        return 412
    none_match = _joined(head, b"if-none-match")
    if none_match is not None:
        return 304 if _is_listed(none_match, current.tag, weak=True) else 200
    date = _date(head, b"if-modified-since")
    return 304 if date is not None and current.seconds <= date else 200


def requested_range(head: RequestHead, current: Validators, size: int) -> tuple[int, int] | None:
    """The first byte and the length of the one range asked for; None: send all.

    None, too, for several ranges and for what does not parse: both may be ignored (section 14.2).
    Raises Unsatisfiable.
    """
    value = _joined(head, b"range")
    if head.method != b"GET" or value is None or not _is_range_current(head, current):
        return None
    match = _RANGE(value)
    if match is None:
        return None
    first_text, last_text = match.groups()
    if not first_text and not last_text:
        return None
    if not first_text:
        first, last = max(size - int(last_text), 0), size - 1
    else:
        first, last = int(first_text), int(last_text) if last_text else size - 1
        if last_text and last < first:
            return None
    if first >= size:
        raise Unsatisfiable
    return first, min(last, size - 1) - first + 1


def _is_range_current(head: RequestHead, current: Validators) -> bool:
    """If-Range (section 13.1.5): by strong tag, or by exactly the same date."""
    value = head.header(b"if-range")
    if value is None:
        return True
    if b'"' in value:
        return value.strip() == current.tag
    return _date(head, b"if-range") == current.seconds


def _is_listed(value: bytes, tag: bytes, *, weak: bool) -> bool:
    if value.strip() == b"*":
        return True
    tags = _TAGS(value)
    return tag in tags or (weak and b"W/" + tag in tags)


def _joined(head: RequestHead, lower_name: bytes) -> bytes | None:
    values = [value for name, value in head.headers if name.lower() == lower_name]
    return b", ".join(values) if values else None


def _date(head: RequestHead, lower_name: bytes) -> int | None:
    """Unix time; None when absent or not a date, which is as if it were absent."""
    value = head.header(lower_name)
    parts = parsedate_tz(value.decode("latin-1")) if value else None
    if parts is None:
        return None
    try:
        return mktime_tz(parts)
    except (ValueError, OverflowError):
        return None
