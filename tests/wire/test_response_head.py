"""Which response heads we take from a backend."""

import pytest

from fastproxy.errors import BadResponse
from fastproxy.message import ResponseHead
from fastproxy.wire.head import ResponseHeadParser

PARSER = ResponseHeadParser()


def parse(line: bytes, *fields: bytes) -> ResponseHead:
    return PARSER.parse(b"\r\n".join((line, *fields, b"", b"")))


def test_status_reason_and_fields() -> None:
    fields = [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"X", b"\xe9"), (b"Date", b"d")]
    head = parse(b"HTTP/1.1 404 Not Here", *(b"%b: %b" % field for field in fields))
    assert (head.status, head.reason, head.minor_version) == (404, b"Not Here", 1)
    assert head.headers == fields
    assert head.content_length is None
    assert head.keep_alive


def test_the_reason_may_be_missing() -> None:
    assert parse(b"HTTP/1.1 200 ").status == 200
    assert parse(b"HTTP/1.1 200").status == 200


def test_hop_by_hop_and_private_fields_are_taken_out() -> None:
    head = parse(
        b"HTTP/1.1 200 OK",
        b"Connection: close, X-Gone",
        b"X-Gone: 1",
        b"Keep-Alive: timeout=7",
        b"Transfer-Encoding: chunked",
        b"Trailer: X",
        b"Proxy-Authenticate: x",
        b"Fastproxy-Secret: x",
        b"X-Sendfile: /srv/a",
        b"X-Accel-Redirect: /a",
        b"X-Lighttpd-Send-File: /srv/a",
        b"Date: now",
    )
    assert head.headers == [(b"Date", b"now")]
    assert head.is_chunked
    assert not head.keep_alive
    assert head.keep_alive_timeout_s == 7
    assert head.controls == (
        (b"fastproxy-secret", b"x"),
        (b"x-sendfile", b"/srv/a"),
        (b"x-accel-redirect", b"/a"),
        (b"x-lighttpd-send-file", b"/srv/a"),
    )


@pytest.mark.parametrize(
    "name", [b"FASTPROXY_send", b"x_sendfile", b"X-accel_Redirect", b"Gitlab_Workhorse-Send-Data"]
)
def test_an_underscore_hides_no_control_field(name: bytes) -> None:
    head = parse(b"HTTP/1.1 200 OK", name + b": v", b"Date: now")
    assert head.headers == [(b"Date", b"now")]
    assert head.controls == ((name.lower().replace(b"_", b"-"), b"v"),)


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    head = parse(b"HTTP/1.1 200 OK", b"Content-Length: 5 ", b"A: b \t", b"Date: d")
    assert (head.content_length, head.headers) == (5, [(b"A", b"b"), (b"Date", b"d")])
    assert parse(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked\t").is_chunked


def test_http_1_0_closes_unless_it_says_otherwise() -> None:
    assert not parse(b"HTTP/1.0 200 OK").keep_alive
    assert parse(b"HTTP/1.0 200 OK", b"Connection: keep-alive").keep_alive


def test_switching_protocols_names_the_protocol() -> None:
    head = parse(b"HTTP/1.1 101 Go", b"Connection: upgrade", b"Upgrade: websocket")
    assert (head.status, head.upgrade) == (101, b"websocket")


BAD = {
    "no HTTP": b"hello\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "status too small": b"HTTP/1.1 099 OK\r\n\r\n",
    "status too large": b"HTTP/1.1 999 OK\r\n\r\n",
    "CL and TE": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two CL": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "bad CL": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
    "TE gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "TE in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_a_bad_head_is_the_backends_fault(raw: bytes) -> None:
    with pytest.raises(BadResponse):
        PARSER.parse(raw)
