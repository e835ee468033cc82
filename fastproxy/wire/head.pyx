"""Bytes of one whole head in, a judged RequestHead or ResponseHead out. httptools ends here.

A head is fed whole (the caller waits for the empty line), so a parser lives inside one call and an
idle connection holds none. What llhttp lets through and two parsers could still read differently is
refused here. No leniency is switched on.
"""

import re
import string

import httptools

from fastproxy.errors import (
    AmbiguousFraming, BadHead, BadResponse, ExpectationFailed, HeadTooLarge, MethodNotAllowed,
    TargetTooLong,
)
from fastproxy.wire.date import date_field
from fastproxy.wire.fields import (
    CLAIM_PREFIX, CLAIMS, FILES_TO_NAME, FILES_TO_SEND, HOP_BY_HOP, METHOD_OVERRIDES,
    PRIVATE_PREFIXES, PRIVATE_TYPES,
)

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastproxy.message cimport RequestHead, ResponseHead

END_OF_HEAD = b"\r\n\r\n"

# A Connection header may not take these away from the next hop (Traefik CVE-2024-45410).
cdef object _NOT_NOMINABLE = frozenset(
    {b"host", b"content-length", b"authorization", b"cookie", b"content-type", b"range", b"date"}
)
cdef object _KEEP_ALIVE_TIMEOUT = re.compile(rb"(?i:timeout)=([0-9]{1,6})").search
cdef object _LITERAL_HOST = re.compile(rb"\[[0-9A-Fa-f:.]+\](?::[0-9]{0,5})?\Z").match
cdef object _ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)\Z", re.DOTALL).match

REQUEST_KINDS = {
    **dict.fromkeys(HOP_BY_HOP, DROPPED),
    **dict.fromkeys(FILES_TO_NAME, DROPPED),
    **dict.fromkeys(CLAIMS, CLAIM),
    **dict.fromkeys(METHOD_OVERRIDES, OVERRIDE),
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
    b"x-request-id": REQUEST_ID,
}
RESPONSE_KINDS = {
    **dict.fromkeys(HOP_BY_HOP, DROPPED),
    **dict.fromkeys(FILES_TO_SEND, CONTROL),
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"keep-alive": KEEP_ALIVE,
    b"content-type": CONTENT_TYPE,
    b"date": DATE,
}

cdef bint _HOST_BYTE[256]
_HOST_LETTERS = string.ascii_letters + string.digits + "._~%!$&'()*+,;=-"
for _byte in bytearray(_HOST_LETTERS.encode()):
    _HOST_BYTE[_byte] = True


cdef class _Fields:
    """What httptools calls while it walks a head."""

    cdef bytes target, reason
    cdef list headers

    def __init__(self):
        self.target = b""
        self.reason = b""
        self.headers = []

    def on_url(self, bytes url):
        self.target = self.target + url if self.target else url

    def on_status(self, bytes reason):
        self.reason = self.reason + reason if self.reason else reason

    def on_header(self, bytes name, bytes value):
        self.headers.append((name, value.rstrip(b" \t")))  # RFC 9110 section 5.5


cdef class RequestHeadParser:
    """Parses whole request heads, one a call."""

    def __init__(self, *, Py_ssize_t max_count=100, Py_ssize_t max_target=8192):
        self._max_count = max_count
        self._max_target = max_target

    cpdef RequestHead parse(self, bytes raw):
        """The head in `raw`, which ends with its empty line.

        Raises BadHead, AmbiguousFraming, TargetTooLong, HeadTooLarge, ExpectationFailed and
        MethodNotAllowed (RFC 9112 sections 2 to 6).
        """
        cdef _Fields fields = _Fields()
        refuse_odd_bytes(raw)
        # A new one each time: what llhttp remembers of one client must not judge another.
        parser = httptools.HttpRequestParser(fields)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # whether to switch is for the backend to say
        except httptools.HttpParserError as error:
            target_length = raw.find(b"\r\n")
            if target_length > self._max_target + 64:
                raise TargetTooLong(f"{target_length} bytes") from error
            raise BadHead(str(error)) from error
        if len(fields.headers) > self._max_count:
            raise HeadTooLarge(f"{len(fields.headers)} fields")
        if len(fields.target) > self._max_target:
            raise TargetTooLong(f"{len(fields.target)} bytes")
        head = _request_line(raw, fields.target)
        _sort_request_fields(head, fields.headers)
        _judge_target(head)
        return head


cdef RequestHead _request_line(bytes raw, bytes target):
    """Method and version as they were written: llhttp takes more than one blank for one."""
    cdef const char* line = PyBytes_AS_STRING(raw)
    cdef Py_ssize_t method = 0
    while b"A" <= line[method] <= b"Z" or line[method] == b"-":  # a NUL ends every bytes object
        method += 1
    cdef Py_ssize_t end = method + 1 + PyBytes_GET_SIZE(target)
    cdef bytes version = raw[end:end + 11]
    known = version == b" HTTP/1.1\r\n" or version == b" HTTP/1.0\r\n"
    if not method or line[method] != b" " or not known:
        raise BadHead("request line")
    return RequestHead(raw[:method], target, version[8] - 48, [])


cpdef refuse_odd_bytes(bytes raw):
    """Refuse control bytes, bare CR or LF and folded lines (RFC 9112 sections 2.2 and 5.2).

    Raises BadHead.
    """
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(raw)
    cdef const unsigned char* end = at + PyBytes_GET_SIZE(raw)
    cdef unsigned char byte
    while at < end:
        byte = at[0]
        if byte >= 32 and byte != 127 or byte == 9:
            at += 1
        elif byte == 13 and at[1] == 10:  # behind the last byte there is a NUL
            at += 2
            if at[0] == 32 or at[0] == 9:
                raise BadHead("folded line")
        elif byte == 13 or byte == 10:
            raise BadHead("bare CR or LF in head")
        else:
            raise BadHead("control byte in head")


def connection_tokens(bytes value):
    """The options of a Connection field, in lower case (RFC 9110 section 7.6.1)."""
    return [token.strip(b" \t").lower() for token in value.split(b",")]


cdef int _request_kind(bytes name) except -1:
    cdef bytes lower = name.lower()
    kind = REQUEST_KINDS.get(lower)
    if kind is not None:
        return kind
    # `_` and `-` are one letter to CGI-like backends: X_Private would pose as X-Private.
    if b"_" in lower or lower.startswith(PRIVATE_PREFIXES):
        return DROPPED
    if lower.startswith(CLAIM_PREFIX):
        return CLAIM
    return PLAIN


cdef _sort_request_fields(RequestHead head, list headers):
    cdef list nominated = []
    cdef list plain = head.headers
    cdef int hosts = 0
    cdef int kind
    cdef bytes name, value
    for field in headers:
        name, value = field
        kind = _request_kind(name)
        if kind == PLAIN:
            plain.append(field)
        elif kind == HOST:
            if not _is_host(value):
                raise BadHead("malformed Host")
            head.host = value
            hosts += 1
        elif kind == LENGTH:
            length = _length(value)
            if head.content_length is not None or length is None:
                raise AmbiguousFraming("Content-Length")
            head.content_length = length
        elif kind == CODING:
            if head.is_chunked or value.lower() != b"chunked":
                raise AmbiguousFraming("Transfer-Encoding")
            head.is_chunked = True
        elif kind == CONNECTION:
            nominated += connection_tokens(value)
        elif kind == CLAIM:
            head.claims = [*head.claims, field]
        elif kind == OVERRIDE:
            plain.append(field)
            head.overrides += (value,)
        elif kind != DROPPED:
            _take_own_field(head, kind, value)
    if hosts != 1 and (head.minor_version == 1 or hosts):
        raise BadHead("Host must appear exactly once")
    if nominated:
        head.keep_alive = _persists(head.keep_alive, nominated)
        head.headers = _without(plain, nominated)
    if b"upgrade" not in nominated or head.minor_version == 0:  # RFC 9110 section 7.8
        head.upgrade = b""
    if head.is_chunked and (head.content_length is not None or head.minor_version == 0):
        raise AmbiguousFraming("Transfer-Encoding with Content-Length or in HTTP/1.0")
    if head.upgrade and head.has_body:
        raise AmbiguousFraming("Upgrade with a body")
    if head.expects_continue and not head.has_body:
        head.expects_continue = False


cdef _take_own_field(RequestHead head, int kind, bytes value):
    """A field that has a slot in the head."""
    if kind == EXPECT:
        if value.lower() != b"100-continue":
            raise ExpectationFailed("unknown expectation")
        head.expects_continue = head.minor_version == 1
    elif kind == UPGRADE:
        head.upgrade = value
    elif kind == FORWARDED_FOR:
        head.forwarded_for = head.forwarded_for + b", " + value if head.forwarded_for else value
    elif kind == FORWARDED_PROTO:
        head.forwarded_proto = value
    elif kind == FORWARDED_HOST:
        head.forwarded_host = value
    elif kind == REQUEST_ID:
        head.request_id = value


cdef bint _persists(bint keep_alive, list nominated) except -1:
    """Whether a connection stays, by all options of its Connection fields."""
    return b"close" not in nominated and (keep_alive or b"keep-alive" in nominated)


cdef list _without(list headers, list nominated):
    """`headers` without those that a Connection field names."""
    if nominated == [b"keep-alive"]:  # the usual one, and never among them
        return headers
    drop = set(nominated) - _NOT_NOMINABLE
    return [field for field in headers if field[0].lower() not in drop]


cdef object _length(bytes value):
    """A Content-Length of 1 to 18 digits, or None."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef const char* text = PyBytes_AS_STRING(value)
    cdef long long length = 0
    cdef Py_ssize_t i
    if not 1 <= size <= 18:
        return None
    for i in range(size):
        if not b"0" <= text[i] <= b"9":
            return None
        length = length * 10 + text[i] - 48
    return length


cdef bint _is_host(bytes value) except -1:
    """A name or address and perhaps a port (RFC 9110 section 7.2)."""
    if value.startswith(b"["):
        return _LITERAL_HOST(value) is not None
    return is_named_host(<const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef bint is_named_host(const unsigned char* text, Py_ssize_t size) noexcept:
    """A registered name and perhaps a port."""
    cdef Py_ssize_t at = 0
    while at < size and _HOST_BYTE[text[at]]:
        at += 1
    if at == 0 or at == size:
        return at > 0
    if text[at] != b":" or size - at > 6:
        return False
    for at in range(at + 1, size):
        if not b"0" <= text[at] <= b"9":
            return False
    return True


cdef _judge_target(RequestHead head):
    """Bring the target to origin form (RFC 9112 section 3.2)."""
    cdef bytes target = head.target
    cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(target)
    cdef Py_ssize_t i
    if head.method == b"CONNECT":
        raise MethodNotAllowed("CONNECT")
    for i in range(PyBytes_GET_SIZE(target)):
        if not 33 <= text[i] <= 126 or text[i] == b"#":
            raise BadHead("target")
    if text[0] == b"/" or target == b"*" and head.method == b"OPTIONS":
        return
    absolute = _ABSOLUTE(target)
    if absolute is None or absolute[1].lower() != head.host.lower():
        raise BadHead("target form")
    head.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


cdef class ResponseHeadParser:
    """Parses whole response heads, one a call."""

    cpdef ResponseHead parse(self, bytes raw):
        """The head in `raw`, which ends with its empty line. Raises BadResponse."""
        cdef _Fields fields = _Fields()
        cdef ResponseHead head
        parser = httptools.HttpResponseParser(fields)
        try:
            refuse_odd_bytes(raw)
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, BadHead) as error:
            raise BadResponse(str(error)) from error
        head = ResponseHead(parser.get_status_code(), fields.reason, [])
        if raw[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or not 100 <= head.status <= 599:
            raise BadResponse(f"version {raw[:9]!r}, status {head.status}")
        head.minor_version = raw[7] - 48
        head.keep_alive = head.minor_version == 1
        _sort_response_fields(head, fields.headers)
        if not head.is_dated and head.status >= 200:
            # RFC 9110 section 6.6.1: who forwards an answer without a date adds when it came.
            head.headers.append(date_field())
        return head


cdef bint _is_control(bytes lower) except -1:
    """`_` counts as `-`, as whoever reads the answer next may take it."""
    cdef bytes dashed = lower.replace(b"_", b"-") if b"_" in lower else lower
    return dashed.startswith(PRIVATE_PREFIXES) or dashed in FILES_TO_SEND


cdef _sort_response_fields(ResponseHead head, list headers):
    cdef list nominated = []
    cdef list plain = head.headers
    cdef bytes name, value, lower
    cdef int kind
    for field in headers:
        name, value = field
        lower = name.lower()
        kind = RESPONSE_KINDS.get(lower, PLAIN)
        if kind == PLAIN and _is_control(lower):
            kind = CONTROL
        if kind == PLAIN:
            plain.append(field)
        elif kind == CONTROL:
            head.controls += ((lower.replace(b"_", b"-"), value),)
        elif kind == LENGTH:
            length = _length(value)
            if head.content_length is not None or length is None:
                raise BadResponse("Content-Length")
            head.content_length = length
        elif kind == CONNECTION:
            nominated += connection_tokens(value)
        elif kind == DATE:
            plain.append(field)
            head.is_dated = True
        elif kind == CONTENT_TYPE:
            plain.append(field)
            head.is_private = value.lower().startswith(PRIVATE_TYPES)
        elif kind == CODING:
            if head.is_chunked or value.lower() != b"chunked" or head.minor_version == 0:
                raise BadResponse("Transfer-Encoding")
            head.is_chunked = True
        elif kind == UPGRADE:
            head.upgrade = value
        elif kind == KEEP_ALIVE:
            timeout = _KEEP_ALIVE_TIMEOUT(value)
            head.keep_alive_timeout_s = float(timeout[1]) if timeout else None
    if nominated:
        head.keep_alive = _persists(head.keep_alive, nominated)
        head.headers = _without(plain, nominated)
    if head.is_chunked and head.content_length is not None:
        raise BadResponse("Transfer-Encoding with Content-Length")
