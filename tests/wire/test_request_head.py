"""Which request heads we take, what becomes of their fields, and which we refuse."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import (
    AmbiguousFraming,
    BadHead,
    ExpectationFailed,
    FastproxyError,
    HeadTooLarge,
    MethodNotAllowed,
    TargetTooLong,
)
from fastproxy.message import RequestHead
from fastproxy.wire.head import RequestHeadParser

PARSER = RequestHeadParser(max_count=100, max_target=8192)


def parse(line: bytes, *fields: bytes) -> RequestHead:
    return PARSER.parse(b"\r\n".join((line, *fields, b"", b"")))


def get(*fields: bytes) -> RequestHead:
    return parse(b"GET / HTTP/1.1", b"Host: h", *fields)


def post(*fields: bytes) -> RequestHead:
    return parse(b"POST / HTTP/1.1", b"Host: h", *fields)


def names(head: RequestHead) -> list[bytes]:
    return [name for name, _ in head.headers]


# -- refused -----------------------------------------------------------------------------------

AMBIGUOUS = {
    "CL then TE": [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "TE then CL": [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
    "TE and CL, odd case": [b"transfer-ENCODING: ChUnKeD", b"CONTENT-length: 5"],
    "CL 0 and TE": [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
    "two CL": [b"Content-Length: 5", b"Content-Length: 6"],
    "two equal CL": [b"Content-Length: 5", b"Content-Length: 5"],
    "CL list": [b"Content-Length: 5, 5"],
    "CL +": [b"Content-Length: +5"],
    "CL -": [b"Content-Length: -5"],
    "CL hex": [b"Content-Length: 0x5"],
    "CL _": [b"Content-Length: 1_0"],
    "CL empty": [b"Content-Length:"],
    "CL inner blank": [b"Content-Length: 1 0"],
    "CL huge": [b"Content-Length: 99999999999999999999"],
    "CL unicode digit": [b"Content-Length: \xd9\xa3"],
    "CL letters": [b"Content-Length: abc"],
    "TE xchunked": [b"Transfer-Encoding: xchunked"],
    "TE identity": [b"Transfer-Encoding: identity"],
    "TE gzip, chunked": [b"Transfer-Encoding: gzip, chunked"],
    "TE chunked, x": [b"Transfer-Encoding: chunked, x"],
    "TE ,chunked": [b"Transfer-Encoding: ,chunked"],
    "TE chunked,": [b"Transfer-Encoding: chunked,"],
    "TE twice": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "TE quoted": [b'Transfer-Encoding: "chunked"'],
    "TE parameter": [b"Transfer-Encoding: chunked;q=1"],
    "TE nbsp": [b"Transfer-Encoding: \xa0chunked"],
    "TE empty": [b"Transfer-Encoding:"],
    "upgrade with a body": [
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"Content-Length: 5",
    ],
}


@pytest.mark.parametrize("fields", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_ambiguous_framing_is_refused_with_400(fields: list[bytes]) -> None:
    with pytest.raises((AmbiguousFraming, BadHead)) as refused:
        post(*fields)
    assert refused.value.status == 400


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    with pytest.raises(AmbiguousFraming):
        parse(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")


BAD_HEADS = {
    "bare LF behind the line": b"GET / HTTP/1.1\nHost: h\r\n\r\n",
    "bare LF behind a field": b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
    "folded with a blank": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
    "folded with a tab": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n",
    "blank before the first field": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
    "VT in a value": b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
    "ESC in a value": b"GET / HTTP/1.1\r\nHost: h\r\nA: \x1b[31m\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n",
    "blank before the colon": b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
    "tab before the colon": b"GET / HTTP/1.1\r\nHost: h\r\nA\t: b\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: h\r\nnothing\r\n\r\n",
    "bracket in a name": b"GET / HTTP/1.1\r\nHost: h\r\nA[b]: c\r\n\r\n",
    "high byte in a name": b"GET / HTTP/1.1\r\nHost: h\r\n\xc3\xa9: c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two hosts in 1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with a user": b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
    "host with a blank": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with a bad port": b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "absolute form for another host": b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "absolute form with a user": b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "another scheme": b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "* with GET": b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
    "authority form": b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
    "high byte in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
    "tab in the target": b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "no version": b"GET /\r\nHost: h\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: h\r\n\r\n",
    "lower case version": b"GET / http/1.1\r\nHost: h\r\n\r\n",
    "lower case method": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("raw", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_a_bad_head_is_refused_with_400(raw: bytes) -> None:
    with pytest.raises(BadHead):
        PARSER.parse(raw)


def test_connect_is_not_allowed() -> None:
    with pytest.raises(MethodNotAllowed):
        parse(b"CONNECT h:443 HTTP/1.1", b"Host: h:443")


@pytest.mark.parametrize("value", [b"100-continues", b"200-ok", b"100-continue, x", b""])
def test_an_unknown_expectation_is_refused_with_417(value: bytes) -> None:
    with pytest.raises(ExpectationFailed):
        post(b"Expect: " + value, b"Content-Length: 5")


def test_too_many_fields_are_refused_with_431() -> None:
    assert len(get(*[b"A: b"] * 99).headers) == 99
    with pytest.raises(HeadTooLarge):
        get(*[b"A: b"] * 100)


def test_a_long_target_is_refused_with_414() -> None:
    assert len(parse(b"GET /" + b"a" * 8191 + b" HTTP/1.1", b"Host: h").target) == 8192
    for size in (8192, 70_000):
        with pytest.raises(TargetTooLong):
            parse(b"GET /" + b"a" * size + b" HTTP/1.1", b"Host: h")


# -- one client's head does not judge another's -----------------------------------------------

POISON = [
    b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"nonsense\r\n\r\n",
]


@pytest.mark.parametrize("poison", POISON, ids=repr)
def test_no_head_changes_how_the_next_one_is_read(poison: bytes) -> None:
    with contextlib.suppress(FastproxyError):
        PARSER.parse(poison)
    head = get(b"A: b")
    assert (head.method, head.target, head.headers) == (b"GET", b"/", [(b"A", b"b")])


# -- taken -------------------------------------------------------------------------------------


def test_fields_keep_their_order_spelling_and_bytes() -> None:
    head = get(b"X-b: 1", b"x-A: 2", b"X-b: \xe9\xff", b"Empty:", b"Tab: a\tb")
    assert head.headers == [
        (b"X-b", b"1"),
        (b"x-A", b"2"),
        (b"X-b", b"\xe9\xff"),
        (b"Empty", b""),
        (b"Tab", b"a\tb"),
    ]


def test_framing_host_and_hop_by_hop_fields_are_taken_out() -> None:
    head = post(
        b"Content-Length: 5",
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"Proxy-Authorization: x",
        b"Proxy-Connection: close",
        b"TE: trailers",
        b"Trailer: X",
        b"Upgrade: h2c",
        b"Cookie: c",
    )
    assert names(head) == [b"Cookie"]
    assert (head.host, head.content_length, head.is_chunked) == (b"h", 5, False)
    assert head.keep_alive
    assert head.upgrade == b""


PRIVATE = [
    *(b"Fastproxy-Upload", b"FASTPROXY-X", b"fastproxy-", b"X_Private", b"Content_Length"),
    *(b"Gitlab-Workhorse", b"GITLAB-workhorse-Api-Request", b"gitlab-workhorse-multipart-fields"),
]
POSING = [b"X-Forwarded-Client_Cert", b"X_Forwarded-For", b"X-Forwarded_For", b"Client_IP"]


@pytest.mark.parametrize("name", PRIVATE + POSING)
def test_private_and_underscored_names_are_dropped(name: bytes) -> None:
    head = get(name + b": 1", b"A: b")
    assert (names(head), head.claims) == ([b"A"], [])


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    head = parse(
        b"POST / HTTP/1.1",
        b"Host: h \t",
        b"Content-Length:\t5 ",
        b"Expect: 100-continue ",
        b"Connection: close ",
        b"A:  b c\t ",
        b"Blank: \t ",
    )
    assert (head.host, head.content_length, head.expects_continue) == (b"h", 5, True)
    assert not head.keep_alive
    assert head.headers == [(b"A", b"b c"), (b"Blank", b"")]
    assert parse(b"PUT / HTTP/1.1", b"Host: h", b"Transfer-Encoding: chunked ").is_chunked


def test_nominated_fields_are_dropped_but_not_those_we_stand_for() -> None:
    head = post(
        b"Connection: close, X-Gone, Host, Content-Length, Authorization, Cookie",
        b"X-Gone: 1",
        b"Authorization: a",
        b"Cookie: c",
        b"Content-Length: 5",
        b"X-Forwarded-For: 1.2.3.4",
    )
    assert names(head) == [b"Authorization", b"Cookie"]
    assert (head.host, head.content_length, head.keep_alive) == (b"h", 5, False)


def test_connection_cannot_nominate_transfer_encoding() -> None:
    head = post(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked")
    assert head.is_chunked


KEEP_ALIVE = [
    (b"HTTP/1.1", [], True),
    (b"HTTP/1.1", [b"Connection: close"], False),
    (b"HTTP/1.1", [b"Connection: x, CLOSE"], False),
    (b"HTTP/1.1", [b"Connection: keep-alive", b"Connection: close"], False),
    (b"HTTP/1.1", [b"Connection: close", b"Connection: keep-alive"], False),
    (b"HTTP/1.0", [], False),
    (b"HTTP/1.0", [b"Connection: keep-alive"], True),
    (b"HTTP/1.0", [b"Connection: Keep-Alive, close"], False),
]


@pytest.mark.parametrize(("version", "fields", "kept"), KEEP_ALIVE)
def test_whether_the_connection_is_kept(version: bytes, fields: list[bytes], kept: bool) -> None:
    assert parse(b"GET / " + version, b"Host: h", *fields).keep_alive is kept


TARGETS = [
    (b"GET", b"/a?b", b"/a?b"),
    (b"GET", b"//a", b"//a"),
    (b"GET", b"/%2e%2E/", b"/%2e%2E/"),
    (b"GET", b"http://h/a?b", b"/a?b"),
    (b"GET", b"HTTP://H", b"/"),
    (b"GET", b"https://h?x", b"/?x"),
    (b"OPTIONS", b"*", b"*"),
]


@pytest.mark.parametrize(("method", "sent", "kept"), TARGETS)
def test_the_target_becomes_origin_form(method: bytes, sent: bytes, kept: bytes) -> None:
    assert parse(method + b" " + sent + b" HTTP/1.1", b"Host: h").target == kept


@pytest.mark.parametrize("host", [b"h", b"h:80", b"[::1]:8080", b"[::1]", b"a.example.", b"h:"])
def test_good_hosts(host: bytes) -> None:
    assert parse(b"GET / HTTP/1.1", b"Host: " + host).host == host


def test_http_1_0_needs_no_host() -> None:
    assert parse(b"GET / HTTP/1.0").host == b""


def test_100_continue_counts_only_with_a_body_and_http_1_1() -> None:
    expect = b"Expect: 100-Continue"
    assert post(expect, b"Content-Length: 5").expects_continue
    assert post(expect, b"Transfer-Encoding: chunked").expects_continue
    assert not post(expect, b"Content-Length: 0").expects_continue
    assert not get(expect).expects_continue
    assert not parse(b"POST / HTTP/1.0", expect, b"Content-Length: 5").expects_continue


def test_upgrade_counts_only_when_connection_names_it() -> None:
    assert get(b"Upgrade: websocket", b"Connection: Upgrade").upgrade == b"websocket"
    assert get(b"Upgrade: websocket").upgrade == b""


def test_fields_that_override_the_method_travel_on_and_are_told() -> None:
    fields = [b"X-HTTP-Method-Override: PUT", b"x-method-override: a, b", b"X-HTTP-Method: x"]
    head = post(*fields)
    assert head.headers == [tuple(field.split(b": ")) for field in fields]
    assert head.overrides == (b"PUT", b"a, b", b"x")
    assert post().overrides == ()


def test_what_is_said_of_the_client_is_kept_apart() -> None:
    head = get(
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-For: 2.2.2.2",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: public",
        b"X-Request-Id: abc",
        b"Forwarded: for=evil",
        b"X-Real-IP: evil",
        b"X-Forwarded-Ssl: on",
    )
    assert head.headers == []
    assert head.forwarded_for == b"1.1.1.1, 2.2.2.2"
    assert (head.forwarded_proto, head.forwarded_host) == (b"https", b"public")
    assert head.request_id == b"abc"
    assert [name for name, _ in head.claims] == [b"Forwarded", b"X-Real-IP", b"X-Forwarded-Ssl"]


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_a_head_or_a_named_fault(noise: bytes, at: int) -> None:
    raw = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: b\r\n"
    mutated = (raw[:at] + noise + raw[at:]).replace(b"\r\n\r\n", b"\r\n") + b"\r\n"
    try:
        head = PARSER.parse(mutated)
    except FastproxyError as fault:
        assert fault.status in (400, 405, 414, 417, 431)  # noqa: PT017
        return
    for name, value in head.headers:
        assert b"\n" not in name + value
        assert b"\r" not in name + value
    assert not (head.is_chunked and head.content_length is not None)
