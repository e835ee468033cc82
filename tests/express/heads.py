"""Heads as hypothesis draws them: most of them plain, many of them nearly so."""

from hypothesis import strategies as st

_ODD_BYTES = (b"\x00", b"\x01", b"\t", b"\n", b"\r", b"\x1f", b" ", b"\x7f", b"\x80", b"\xff", b"_")

_REQUEST_NAMES = (
    *("Accept", "User-Agent", "Cookie", "Content-Type", "Authorization", "Date", "A", "X-A.b~c"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP"),
    *("X-Forwarded", "Forwarded", "Client-IP", "True-Client-IP", "X-Request-Id", "X-Forwarded-"),
    *("Fastproxy-Secret", "fastproxy-", "fastproxy", "X_Under", "Content_Length", "Host_", "_"),
    *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer"),
    *("Upgrade", "Transfer-Encoding", "Content-Length", "Expect", "Host", "", "Bad Name", "X\xe9"),
    *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
    *("X-Sendfile-Type", "X-Accel-Mapping", "X-Sendfile"),
)
_RESPONSE_NAMES = (
    *("Server", "Set-Cookie", "Content-Type", "Location", "ETag", "Date", "Vary", "X_Under", "A"),
    *("Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Trailer"),
    *("Proxy-Connection", "Proxy-Authenticate", "Fastproxy-Secret", "fastproxy", "TE"),
    *("X-Request-Id", "X-Forwarded-For", "", "Bad Name", "X\xe9", "X-Sendfile", "X-Accel-Redirect"),
    *("x_sendfile", "X-Sendfile-Type", "Fastproxy_Send", "Gitlab-Workhorse", "gitlab_workhorse-X"),
)
_VALUES = (
    *(b"x", b"text/plain; charset=utf-8", b"a b", b"a\tb", b"caf\xc3\xa9", b"\xe9", b'"q\\"', b""),
    *(b"keep-alive", b"Keep-Alive", b"close", b"keep-alive, x-a", b"upgrade", b"chunked", b"Close"),
    *(b"http", b"https", b"HTTPS", b"ftp", b"1.2.3.4", b"1.2.3.4, 10.0.0.1", b"fe80::1%eth0"),
    *(b'fe80::1%"x', b"10.1.2.3", b"::1", b"unknown", b"ok-id.1_2", b"i" * 128, b"i" * 129, b"a/b"),
    *(b"0", b"3", b"03", b"+3", b"3, 3", b"9" * 18, b"9" * 19, b"0x3", b"h", b"h:80", b"h:", b"H"),
    *(b"[::1]", b"[::1]:8", b"h_x", b"h:808080", b"h@i", b"timeout=5", b"timeout=1", b"timeout=15"),
    *(
        b"timeout=16",
        b"timeout=5, max=9",
        b"Timeout=0",
        b"timeout=99999",
        b"timeout=999999",
        b"x,y",
    ),
    *(b"timeout= 5", b"application/vnd.fastproxy.upload+json", b"Application/VND.FastProxy.x"),
    *(b"100-continue", b"GET", b"websocket", b"trailers", b"v" * 300),
    *(
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"a\x00b",
        b"a\x7fb",
        b"12345678\x01",
        b"abcdefg\x7fh",
        b"\x0b",
    ),
)
_TARGETS = (
    *(b"/", b"/a", b"/a/b?c=d", b"/?", b"/?x?y", b"/a%2Fb", b"/a%2fb/../c", b"//x", b"/a;v=1/b"),
    *(b'/"quoted"\\back', b"/<>`{|}^~[]", b"/a#b", b"/a?b#c", b"*", b"http://h/x", b"h", b"/\xe9"),
    *(b"/../x", b"/%zz", b"/%00", b"/" + b"p" * 600, b"/" + b"p" * 7000, b"/a b", b"", b"/a\tb"),
    *(b"/a?" + b"q" * 600, b"/.", b"/a/..", b"/x%252e"),
)
_METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS")
_ODD_METHODS = (b"TRACE", b"CONNECT", b"PROPFIND", b"get", b"GETX", b"G ET", b"", b"M-SEARCH")
_ODD_VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.2", b"HTTP/11", b"")
_STATUSES = (b"200 OK", b"201 Created", b"204 No Content", b"304 Not Modified", b"404 Not Found")
_ODD_STATUSES = (
    *(b"200 Fine", b"200 ", b"200", b"200  OK", b"200 OK ", b"200 \xe9t\xe9", b"299 x", b"600 Six"),
    *(
        b"100 Continue",
        b"101 Switching Protocols",
        b"103 Early Hints",
        b"199 x",
        b"99 x",
        b"2000 x",
    ),
    *(
        b"500 Internal Server Error",
        b"502 a\tb",
        b"205 Reset Content",
        b"+20 x",
        b"20a x",
        b"200\tOK",
    ),
)


def _rarely(usual: st.SearchStrategy[bytes], odd: st.SearchStrategy[bytes], one_in: int = 16):
    """`odd`, once in a while."""
    return st.integers(1, one_in).flatmap(lambda n: odd if n == one_in else usual)


def _of(*texts: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(texts)


@st.composite
def _lines(draw: st.DrawFn, names: tuple[str, ...], *, most: int) -> list[bytes]:
    """Field lines with their ends."""
    lines = []
    for _ in range(draw(st.integers(0, most))):
        name = draw(st.sampled_from(names))
        name = draw(st.sampled_from((name, name, name.lower(), name.upper(), name.swapcase())))
        value = draw(_rarely(_of(*_VALUES), st.binary(max_size=24), 8))
        colon = draw(_rarely(_of(b": "), _of(b":", b":  ", b":\t", b" : ", b" ", b""), 32))
        end = draw(_rarely(_of(b"\r\n"), _of(b" \r\n", b"\t\r\n", b"\n", b"\r", b"\r\n ", b""), 32))
        lines.append(name.encode("latin-1") + colon + value + end)
    return lines


@st.composite
def _mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """One byte more, less or other, once in a while."""
    if draw(st.integers(0, 7)) or not raw:
        return raw
    at = draw(st.integers(0, len(raw) - 1))
    put = draw(st.one_of(st.sampled_from((*_ODD_BYTES, b"")), st.binary(max_size=2)))
    return raw[:at] + put + raw[at + draw(st.integers(0, 2)) :]


def _weave(lines: list[bytes], more: list[tuple[int, bytes]]) -> bytes:
    lines = list(lines)
    for at, line in more:
        lines.insert(at % (len(lines) + 1), line)
    return b"".join(lines)


@st.composite
def requests(draw: st.DrawFn, *, most: int = 6, mutate: bool = True) -> bytes:
    """A request with its body."""
    method = draw(_rarely(_of(*_METHODS), _of(*_ODD_METHODS)))
    target = draw(_of(*_TARGETS))
    version = draw(_rarely(_of(b"HTTP/1.1"), _of(*_ODD_VERSIONS)))
    more = [
        (
            draw(st.integers(0, 9)),
            draw(_rarely(_of(b"Host: h\r\n"), _of(b"", b"Host: H:8080\r\n"), 4)),
        )
    ]
    body = draw(st.sampled_from((None, None, b"", b"abc", b"b" * 900)))
    if body is not None:
        more.append((draw(st.integers(0, 9)), b"Content-Length: %d\r\n" % len(body)))
    fields = _weave(draw(_lines(_REQUEST_NAMES, most=most)), more)
    raw = b"%b %b %b\r\n%b\r\n" % (method, target, version, fields)
    return (draw(_mutated(raw)) if mutate else raw) + (body or b"")


@st.composite
def responses(draw: st.DrawFn, *, most: int = 5) -> bytes:
    """A response with its body."""
    status = draw(_rarely(_of(*_STATUSES), _of(*_ODD_STATUSES), 6))
    version = draw(_rarely(_of(b"HTTP/1.1"), _of(*_ODD_VERSIONS)))
    body = draw(st.sampled_from((None, b"", b"abc", b"b" * 5000, b"b" * 20_000)))
    more = []
    if body is not None:
        more.append((draw(st.integers(0, 9)), b"Content-Length: %d\r\n" % len(body)))
    if draw(st.booleans()):
        more.append((draw(st.integers(0, 9)), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"))
    fields = _weave(draw(_lines(_RESPONSE_NAMES, most=most)), more)
    raw = draw(_mutated(b"%b %b\r\n%b\r\n" % (version, status, fields)))
    is_bodyless = status[:3] in (b"204", b"304") and draw(st.booleans())
    return raw + (b"" if is_bodyless else body or b"")
