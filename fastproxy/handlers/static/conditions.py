"""Conditional requests and ranges (RFC 9110 sections 13 and 14), as pure functions."""

import re
from email.utils import formatdate, mktime_tz, parsedate_tz
from typing import Final

from msgspec import Struct

from fastproxy.handlers.static.ranges import Span, parsed_ranges, spans_of
from fastproxy.message import Headers, RequestHead, find_header

_TAGS = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').findall
_FIRST, _LAST = -62135596800, 253402300799  # Unix times of the years 1 to 9999
_BEHIND_ALL: Final = 1 << 50  # some stores refuse larger numbers, and no object is so large


class Validators(Struct, frozen=True):
    """What tells one version of a file from another. `seconds`: Unix time of its last change.

    `tag` empty, `seconds` None: whoever keeps it does not say.
    """

    tag: bytes
    seconds: int | None

    @classmethod
    def of(cls, mtime_ns: int, size: int, coding: str = "") -> "Validators":
        """Both from what the file system knows; `coding`: of a form of the same file."""
        form = b"-%b" % coding.encode("ascii") if coding else b""
        return cls(b'"%x-%x%b"' % (max(mtime_ns, 0), size, form), mtime_ns // 1_000_000_000)

    @classmethod
    def told(cls, headers: Headers) -> "Validators":
        """By another server's answer."""
        modified = find_header(headers, b"last-modified")
        tag = (find_header(headers, b"etag") or b"").strip()
        return cls(tag, _seconds(modified) if modified else None)

    @property
    def last_modified(self) -> bytes:
        """The time as an HTTP-date."""
        return _http_date(self.seconds or 0)


def precondition_status(head: RequestHead, current: Validators) -> int:
    """200 (go on), 304 or 412, judged in the order of RFC 9110 section 13.2.2."""
    match = _joined(head, b"if-match")
    if match is not None:
        if not _is_listed(match, current.tag, weak=False):
            return 412
    elif (date := _date(head, b"if-unmodified-since")) is not None and _is_after(current, date):
        return 412
    none_match = _joined(head, b"if-none-match")
    if none_match is not None:
        return 304 if _is_listed(none_match, current.tag, weak=True) else 200
    date = _date(head, b"if-modified-since")
    if date is None or current.seconds is None:
        return 200
    return 200 if _is_after(current, date) else 304


def requested_spans(head: RequestHead, current: Validators, size: int) -> list[Span]:
    """What is asked for of `size` bytes, in that order; none: send all.

    None for what does not parse, or is not worth its parts: it may be ignored (section 14.2); and
    for what is empty, as nginx does it: some clients ask for ranges of everything.
    Raises Unsatisfiable.
    """
    value = _joined(head, b"range")
    if head.method != b"GET" or value is None or not size or not is_range_current(head, current):
        return []
    specs = parsed_ranges(value)
    return spans_of(specs, size) if specs else []


def forwarded(head: RequestHead) -> Headers:
    """What to ask of a server that need not know all of the RFC: in one form, and only what counts.

    A store may answer 400 to a date that is none, or take weak tags and If-Range for nothing: what
    it answers is to be judged again.
    """
    if head.method not in (b"GET", b"HEAD"):
        return []
    fields: Headers = []
    match, none_match = _joined(head, b"if-match"), _joined(head, b"if-none-match")
    if match is not None:
        fields += _tags(b"If-Match", match)
    elif (date := _date(head, b"if-unmodified-since")) is not None:
        fields.append((b"If-Unmodified-Since", _http_date(date)))
    if none_match is not None:
        fields += _tags(b"If-None-Match", none_match, weak=True)
    elif (date := _date(head, b"if-modified-since")) is not None:
        fields.append((b"If-Modified-Since", _http_date(date)))
    return fields + _forwarded_range(head)


def _forwarded_range(head: RequestHead) -> Headers:
    """One range; none for an If-Range that cannot hold, or of several, which few stores give."""
    specs = parsed_ranges(_joined(head, b"range") or b"") if head.method == b"GET" else []
    if len(specs) != 1:
        return []
    spelled = (b"" if number is None else b"%d" % min(number, _BEHIND_ALL) for number in specs[0])
    fields = [(b"Range", b"bytes=" + b"-".join(spelled))]
    if_range = head.header(b"if-range")
    if if_range is None:
        return fields
    if _is_strong(if_range.strip()):
        return [*fields, (b"If-Range", if_range.strip())]
    date = None if b'"' in if_range else _date(head, b"if-range")
    return [] if date is None else [*fields, (b"If-Range", _http_date(date))]


def _tags(name: bytes, value: bytes, *, weak: bool = False) -> Headers:
    tags = [b"*"] if value.strip() == b"*" else _TAGS(value)
    if weak:  # stores have strong ones, and compare them as texts
        tags = [tag.removeprefix(b"W/") for tag in tags]
    return [(name, b", ".join(tags))] if tags else []


def is_range_current(head: RequestHead, current: Validators) -> bool:
    """If-Range (section 13.1.5): by strong tag, or by exactly the same date."""
    value = head.header(b"if-range")
    if value is None:
        return True
    if b'"' in value:
        return _is_strong(value.strip()) and value.strip() == current.tag
    date = _date(head, b"if-range")
    return date is not None and date == current.seconds


def _is_listed(value: bytes, tag: bytes, *, weak: bool) -> bool:
    if value.strip() == b"*":
        return True
    tags = _TAGS(value)
    if weak:
        return tag.removeprefix(b"W/") in [each.removeprefix(b"W/") for each in tags]
    return _is_strong(tag) and tag in tags


def _is_strong(tag: bytes) -> bool:
    return tag.startswith(b'"')


def _is_after(current: Validators, seconds: int) -> bool:
    return current.seconds is not None and current.seconds > seconds


def _joined(head: RequestHead, lower_name: bytes) -> bytes | None:
    values = [value for name, value in head.headers if name.lower() == lower_name]
    return b", ".join(values) if values else None


def _date(head: RequestHead, lower_name: bytes) -> int | None:
    """Unix time; None when absent or not a date, which is as if it were absent."""
    value = head.header(lower_name)
    return _seconds(value) if value else None


def _seconds(value: bytes) -> int | None:
    parts = parsedate_tz(value.decode("latin-1"))
    try:
        seconds = None if parts is None else mktime_tz(parts)
    except (ValueError, OverflowError):
        return None
    # By its zone it may be of a year that cannot be written.
    return seconds if seconds is not None and _FIRST <= seconds <= _LAST else None


def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode("ascii")
