"""Bytes to presigned URLs, and what a store's answers mean.

The HTTP client is handed in (storage and upstream do not know each other). No detail of a fault
ever holds a query: there the signature is.
"""

import re
from collections.abc import AsyncIterator, Sequence
from email.utils import mktime_tz, parsedate_tz
from typing import Protocol
from urllib.parse import urlsplit

from fastproxy.errors import (
    BackendFault,
    Retry,
    StorageFault,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
)
from fastproxy.message import Headers, find_header
from fastproxy.storage import s3xml
from fastproxy.storage.contract import BodyAround, Excerpt, PartBody


class HttpAnswer(Protocol):
    """A complete answer with its body, which the client bounds."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class HttpCall(Protocol):
    """One HTTP request to any URL, one attempt.

    Sends Host and the framing itself (`body.size` is the Content-Length). `timeout_s`: no progress
    for that long. Raises BackendFault; faults of `body.chunks()` come through unchanged.
    """

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Headers,
        body: PartBody | bytes | None,
        timeout_s: float,
    ) -> HttpAnswer: ...


class SignatureExpired(StoreRefused):
    """The URL's signature or its credentials are too old: sign anew and try again."""

    retry = Retry.SAFE


class CorruptTransfer(StoreMismatch):
    """The store got other bytes than we sent: send them again."""

    retry = Retry.SAFE


BUSY_CODES = frozenset({
    "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "OperationAborted",
    "IncompleteBody", "TooManyRequests", "RequestLimitExceeded", "Throttling",
    "ThrottlingException", "ServerBusy", "ConditionalRequestConflict",
})  # fmt: skip
EXPIRED_CODES = frozenset({"ExpiredToken", "RequestExpired", "ExpiredPresignRequest"})
CORRUPT_CODES = frozenset({
    "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
})  # fmt: skip
DONE_STATUSES = frozenset({200, 201, 204, 206})
BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 529})
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})\Z").match
FIRST_BYTE: Headers = [(b"range", b"bytes=0-0")]
GONE_CODES = frozenset({"NoSuchUpload", "NoSuchKey", "NotFound", "404"})


class NotThere(StoreRefused):
    """No such upload, object or bucket."""


class Replaced(StoreRefused):
    """The object is not the one that was meant."""


class UnsatisfiableRange(StoreRefused):
    """The object is shorter than where the range begins."""


def fault_of(what: str, status: int, code: str = "", message: str = "") -> StorageFault:
    """The fault that an S3 error stands for (S3 API, "Error responses").

    `message` is only looked at, not repeated: stores quote the request in it.
    """
    detail = f"{what}: {status} {code}".rstrip()
    if code in EXPIRED_CODES or (status in (400, 403) and "expired" in message.lower()):
        return SignatureExpired(f"{detail} (expired)")
    if code in CORRUPT_CODES:
        return CorruptTransfer(detail)
    if code in BUSY_CODES or status in BUSY_STATUSES:
        return StoreUnavailable(detail)
    if code in GONE_CODES or status == 404:
        return NotThere(detail)
    if status == 412:
        return Replaced(detail)
    if status == 416:
        return UnsatisfiableRange(detail)
    return StoreRefused(detail)


def redacted(url: str) -> str:
    """A URL without user, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Exact(BodyAround):
    """A body that is exactly as long as it says, or fails before the store can take it for whole.

    Less would be waited for in vain; more would be read as the connection's next request.
    `left`: bytes that nobody has read.
    """

    left: int

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """See PartBody. Raises StoreMismatch."""
        self.left = self.size
        async for run in self.body.chunks():
            self.left -= sum(view.nbytes for view in run)
            if self.left < 0:
                break
            yield run
        if self.left:
            raise StoreMismatch(f"part {self.number}: not the {self.size} bytes it claims to be")


async def send(
    call: HttpCall,
    method: str,
    url: str,
    headers: Headers,
    body: PartBody | bytes | None = None,
    *,
    timeout_s: float,
) -> HttpAnswer:
    """One attempt. The answer if its status is in `DONE_STATUSES`; StorageFault otherwise.

    Nobody has stored what nobody has read, whatever the answer says.
    """
    what = f"{method} {redacted(url)}"
    if body is not None and not isinstance(body, bytes):
        body = Exact(body, body.size)
    try:
        answer = await call(method, url, headers=headers, body=body, timeout_s=timeout_s)
    except BackendFault as fault:
        raise StoreUnavailable(f"{what}: {fault.kind}") from fault
    if answer.status in DONE_STATUSES:
        if isinstance(body, Exact) and body.left:
            raise StoreMismatch(f"{what}: {answer.status} with {body.left} bytes unread")
        return answer
    document = s3xml.parse(answer.body)
    raise fault_of(what, answer.status, document.code, document.message)


def size_of(answer: HttpAnswer) -> int:
    """An object's size from the answer to a GET with FIRST_BYTE (RFC 9110 section 14.4)."""
    return len(answer.body) if answer.status != 206 else _told_range(answer)[1]


def _told_range(answer: HttpAnswer) -> tuple[int, int]:
    """Where the bytes begin, and how many the object has. Raises StoreMismatch."""
    told = _CONTENT_RANGE(find_header(answer.headers, b"content-range") or b"")
    if told is None:
        raise StoreMismatch("206 without a range and a size in Content-Range")
    return int(told[1]), int(told[2])


def range_of(start: int, length: int) -> Headers:
    """The field that asks for `length` bytes from `start` on; 0 are as good as 1."""
    return [(b"range", b"bytes=%d-%d" % (start, start + max(length, 1) - 1))]


def excerpt_of(answer: HttpAnswer, start: int, length: int) -> Excerpt:
    """What the answer to a GET with `range_of` brought. Raises StoreMismatch for anything else."""
    if answer.status != 206:  # the range was ignored
        data, size = answer.body[start:], len(answer.body)
    else:
        data = answer.body
        first, size = _told_range(answer)
        wanted = min(max(length, 1), size - start)
        if first != start or len(data) != wanted:
            raise StoreMismatch(f"{len(data)} bytes from {first} on, not {wanted} from {start} on")
    return Excerpt(data[:length], size, etag_of(answer.headers), _modified(answer.headers))


def _modified(headers: Headers) -> int:
    parts = parsedate_tz((find_header(headers, b"last-modified") or b"").decode("latin-1"))
    try:
        return 0 if parts is None else max(0, mktime_tz(parts))
    except (ValueError, OverflowError):
        return 0


def nothing_from(start: int, fault: UnsatisfiableRange) -> Excerpt:
    """An empty object has no byte to ask for. Raises NotThere when `start` is not 0."""
    if start:
        raise NotThere(fault.detail) from fault
    return Excerpt(b"", 0)


def etag_of(headers: Headers) -> str:
    """The ETag without its quotes; empty when there is none."""
    etag = find_header(headers, b"etag") or b""
    return etag.decode("latin-1").strip().removeprefix("W/").strip('"')
