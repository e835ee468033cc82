"""Bytes of one whole head in, a judged RequestHead or ResponseHead out. httptools ends here.

A head is fed whole (the caller waits for the empty line), so a parser lives inside one call and an
idle connection holds none. What llhttp lets through and two parsers could still read differently is
refused here. No leniency is switched on.
"""

import re
from typing import Final

import httptools

from fastproxy.errors import (
    AmbiguousFraming,
    BadHead,
    BadResponse,
    ExpectationFailed,
    HeadTooLarge,
    MethodNotAllowed,
    TargetTooLong,
)
from fastproxy.message import Headers, RequestHead, ResponseHead
from fastproxy.wire.date import date_field

END_OF_HEAD: Final = b"\r\n\r\n"

# RFC 9110 section 7.6.1, and Proxy-Connection, which browsers once sent.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# A Connection header may not take these away from the next hop (Traefik CVE-2024-45410).
_NOT_NOMINABLE: Final = frozenset(
    {b"host", b"content-length", b"authorization", b"cookie", b"content-type", b"range", b"date"}
)
PRIVATE_PREFIX: Final = b"fastproxy-"
PRIVATE_TYPE: Final = b"application/vnd.fastproxy."
# Who a proxy in front says the client is; backends believe them, so only a trusted peer may.
_CLAIM_PREFIX: Final = b"x-forwarded-"
_CLAIMS: Final = frozenset(
    {b"forwarded", b"x-forwarded", b"x-real-ip", b"client-ip", b"x-client-ip", b"true-client-ip"}
)

_HEAD_BYTES: Final = bytes([9, 10, 13, *range(32, 127), *range(128, 256)])
_TARGET_BYTES: Final = bytes(range(33, 127))
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?i:timeout)=([0-9]{1,6})").search
_REQUEST_LINE = re.compile(rb"[A-Z-]+ [^ ]+ HTTP/1\.[01]\r\n").match
_LENGTH = re.compile(rb"[0-9]{1,18}\Z").match
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::[0-9]{0,5})?\Z").match
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)\Z", re.DOTALL).match


class _Fields:
    """What httptools calls while it walks a head."""

    def __init__(self) -> None:
        self.target = b""
        self.reason = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


class RequestHeadParser:
    """Parses whole request heads, one a call."""

    def __init__(self, *, max_count: int = 100, max_target: int = 8192) -> None:
        self._max_count = max_count
        self._max_target = max_target

    def parse(self, raw: bytes) -> RequestHead:
        """The head in `raw`, which ends with its empty line.

        Raises BadHead, AmbiguousFraming, TargetTooLong, HeadTooLarge, ExpectationFailed and
        MethodNotAllowed (RFC 9112 sections 2 to 6).
        """
        refuse_odd_bytes(raw)
        fields = _Fields()
        # A new one each time (0.5 us): what llhttp remembers of one client must not judge another.
        parser = httptools.HttpRequestParser(fields)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # whether to switch is for the backend to say
        except httptools.HttpParserError as error:
            target_length = len(raw.split(b"\r\n", 1)[0])
            if target_length > self._max_target + 64:
                raise TargetTooLong(f"{target_length} bytes") from error
            raise BadHead(str(error)) from error
        if not _REQUEST_LINE(raw):  # llhttp takes more than one blank for one
            raise BadHead("request line")
        return self._judge(fields, parser)

    def _judge(self, fields: _Fields, parser: httptools.HttpRequestParser) -> RequestHead:
        headers = fields.headers
        if len(headers) > self._max_count:
            raise HeadTooLarge(f"{len(headers)} fields")
        if len(fields.target) > self._max_target:
            raise TargetTooLong(f"{len(fields.target)} bytes")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadHead(f"HTTP version {version}")
        head = RequestHead(parser.get_method(), fields.target, int(version[2]), [])
        _sort_request_fields(head, headers)
        _judge_target(head)
        return head


def refuse_odd_bytes(raw: bytes) -> None:
    """Refuse control bytes, bare CR or LF and folded lines (RFC 9112 sections 2.2 and 5.2)."""
    if raw.translate(None, _HEAD_BYTES):
        raise BadHead("control byte in head")
    lines = raw.count(b"\r\n")
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
        raise BadHead("bare CR or LF in head")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise BadHead("folded line")


def connection_tokens(value: bytes) -> list[bytes]:
    """The options of a Connection field, in lower case (RFC 9110 section 7.6.1)."""
    return [token.strip(b" \t").lower() for token in value.split(b",")]


def _sort_request_fields(head: RequestHead, headers: Headers) -> None:
    nominated: list[bytes] = []
    hosts = 0
    for field in headers:
        name = field[0].lower()
        handler = _REQUEST_FIELDS.get(name)
        if handler is not None:
            hosts += handler(head, field[1], nominated)
        elif name in HOP_BY_HOP or name.startswith(PRIVATE_PREFIX) or b"_" in name:
            # `_` and `-` are one letter to CGI-like backends: X_Private would pose as X-Private.
            continue
        elif name in _CLAIMS or name.startswith(_CLAIM_PREFIX):
            head.claims.append(field)
        else:
            head.headers.append(field)
    if hosts != 1 and (head.minor_version == 1 or hosts):
        raise BadHead("Host must appear exactly once")
    if nominated:
        drop = set(nominated) - _NOT_NOMINABLE
        head.headers = [field for field in head.headers if field[0].lower() not in drop]
    if b"upgrade" not in nominated:
        head.upgrade = b""
    if head.is_chunked and (head.content_length is not None or head.minor_version == 0):
        raise AmbiguousFraming("Transfer-Encoding with Content-Length or in HTTP/1.0")
    if head.upgrade and head.has_body:
        raise AmbiguousFraming("Upgrade with a body")
    if head.expects_continue and not head.has_body:
        head.expects_continue = False


def _take_host(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    if not _HOST(value):
        raise BadHead("malformed Host")
    head.host = value
    return 1


def _take_length(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    if head.content_length is not None or not _LENGTH(value):
        raise AmbiguousFraming("Content-Length")
    head.content_length = int(value)
    return 0


def _take_coding(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    if head.is_chunked or value.lower() != b"chunked":
        raise AmbiguousFraming("Transfer-Encoding")
    head.is_chunked = True
    return 0


def _take_connection(head: RequestHead, value: bytes, nominated: list[bytes]) -> int:
    tokens = connection_tokens(value)
    nominated += tokens
    if b"close" in tokens:
        head.keep_alive = False
    elif b"keep-alive" in tokens and b"close" not in nominated:
        head.keep_alive = True
    return 0


def _take_expect(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    if value.lower() != b"100-continue":
        raise ExpectationFailed("unknown expectation")
    head.expects_continue = head.minor_version == 1
    return 0


def _take_upgrade(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    head.upgrade = value
    return 0


def _take_forwarded_for(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    head.forwarded_for = head.forwarded_for + b", " + value if head.forwarded_for else value
    return 0


def _take_forwarded_proto(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    head.forwarded_proto = value
    return 0


def _take_forwarded_host(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    head.forwarded_host = value
    return 0


def _take_request_id(head: RequestHead, value: bytes, _: list[bytes]) -> int:
    head.request_id = value
    return 0


_REQUEST_FIELDS: Final = {
    b"host": _take_host,
    b"content-length": _take_length,
    b"transfer-encoding": _take_coding,
    b"connection": _take_connection,
    b"expect": _take_expect,
    b"upgrade": _take_upgrade,
    b"x-forwarded-for": _take_forwarded_for,
    b"x-forwarded-proto": _take_forwarded_proto,
    b"x-forwarded-host": _take_forwarded_host,
    b"x-request-id": _take_request_id,
}


def _judge_target(head: RequestHead) -> None:
    """Bring the target to origin form (RFC 9112 section 3.2)."""
    target = head.target
    if head.method == b"CONNECT":
        raise MethodNotAllowed("CONNECT")
    if target.translate(None, _TARGET_BYTES) or b"#" in target:
        raise BadHead("target")
    if target.startswith(b"/"):
        return
    if target == b"*" and head.method == b"OPTIONS":
        return
    absolute = _ABSOLUTE(target)
    if absolute is None or absolute[1].lower() != head.host.lower():
        raise BadHead("target form")
    rest = absolute[2]
    head.target = rest if rest.startswith(b"/") else b"/" + rest


class ResponseHeadParser:
    """Parses whole response heads, one a call."""

    def parse(self, raw: bytes) -> ResponseHead:
        """The head in `raw`, which ends with its empty line. Raises BadResponse."""
        fields = _Fields()
        parser = httptools.HttpResponseParser(fields)
        try:
            refuse_odd_bytes(raw)
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, BadHead) as error:
            raise BadResponse(str(error)) from error
        head = ResponseHead(parser.get_status_code(), fields.reason, [])
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= head.status <= 599:
            raise BadResponse(f"version {version}, status {head.status}")
        head.minor_version = int(version[2])
        head.keep_alive = head.minor_version == 1
        _sort_response_fields(head, fields.headers)
        if not head.is_dated and head.status >= 200:
            # RFC 9110 section 6.6.1: who forwards an answer without a date adds when it came.
            head.headers.append(date_field())
        return head


def _sort_response_fields(head: ResponseHead, headers: Headers) -> None:
    nominated: list[bytes] = []
    for field in headers:
        name = field[0].lower()
        handler = _RESPONSE_FIELDS.get(name)
        if handler is not None:
            handler(head, field[1], nominated)
        elif name not in HOP_BY_HOP and not name.startswith(PRIVATE_PREFIX):
            head.headers.append(field)
    if nominated:
        drop = set(nominated) - _NOT_NOMINABLE
        head.headers = [field for field in head.headers if field[0].lower() not in drop]
    if head.is_chunked and head.content_length is not None:
        raise BadResponse("Transfer-Encoding with Content-Length")


def _take_response_length(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    if head.content_length is not None or not _LENGTH(value):
        raise BadResponse("Content-Length")
    head.content_length = int(value)


def _take_response_coding(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    if head.is_chunked or value.lower() != b"chunked" or head.minor_version == 0:
        raise BadResponse("Transfer-Encoding")
    head.is_chunked = True


def _take_response_connection(head: ResponseHead, value: bytes, nominated: list[bytes]) -> None:
    nominated += connection_tokens(value)
    if b"close" in nominated:
        head.keep_alive = False
    elif b"keep-alive" in nominated:
        head.keep_alive = True


def _take_response_upgrade(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    head.upgrade = value


def _take_date(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    head.headers.append((b"Date", value))
    head.is_dated = True


def _take_content_type(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    head.headers.append((b"Content-Type", value))
    head.is_private = value.lower().startswith(PRIVATE_TYPE)


def _take_keep_alive(head: ResponseHead, value: bytes, _: list[bytes]) -> None:
    timeout = _KEEP_ALIVE_TIMEOUT(value)
    head.keep_alive_timeout_s = float(timeout[1]) if timeout else None


_RESPONSE_FIELDS: Final = {
    b"content-length": _take_response_length,
    b"transfer-encoding": _take_response_coding,
    b"connection": _take_response_connection,
    b"upgrade": _take_response_upgrade,
    b"keep-alive": _take_keep_alive,
    b"content-type": _take_content_type,
    b"date": _take_date,
}
