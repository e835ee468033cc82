"""Whatever a plain head is taken for, the parser of all heads takes it for the same.

A request and its answer go through two workers, with and without the express lane: both ends must
get the same bytes, and the same must be logged and counted.
"""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from fastproxy.config.schema import Limits
from tests.express.events import backend_half_closes, backend_sends, client_sends
from tests.express.heads import requests, responses
from tests.express.worlds import STRANGER, TRUSTED, Setting, play
from tests.support.examples import examples

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nok"
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
PEERS = st.sampled_from((STRANGER, TRUSTED, ""))


def took(request: bytes, answer: bytes = OK, peer: str = STRANGER, **more: object) -> bool:
    """Whether the lane took `request`; that it made no difference is a matter of course."""
    _, took_part = play(Setting(peer, **more), client_sends(request), backend_sends(answer))  # type: ignore[arg-type]
    return took_part


@examples(150)
@given(requests(), PEERS)
def test_any_request_is_passed_on_as_without_the_lane(request: bytes, peer: str) -> None:
    event(f"taken: {took(request, peer=peer)}")


@examples(40)
@given(st.binary(max_size=64), PEERS)
def test_any_bytes_are_judged_as_without_the_lane(raw: bytes, peer: str) -> None:
    took(b"GET /" + raw + b" HTTP/1.1\r\nHost: h\r\n\r\n", peer=peer)
    took(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + raw + b"\r\n\r\n", peer=peer)
    took(b"GET / HTTP/1.1\r\nHost: h\r\n" + raw + b"\r\n\r\n", peer=peer)


@examples(150)
@given(responses(), st.sampled_from((GET, GET.replace(b"GET", b"HEAD"))), st.booleans())
def test_any_answer_is_passed_on_as_without_the_lane(
    answer: bytes, request: bytes, ends: bool
) -> None:
    events = [client_sends(request), backend_sends(answer)]
    play(Setting(), *events, *([backend_half_closes] if ends else []))


@examples(40)
@given(st.lists(requests(most=3), min_size=2, max_size=4), st.data())
def test_a_connection_that_was_on_the_lane_serves_on(
    heads: list[bytes], data: st.DataObject
) -> None:
    events = []
    for head in heads:
        events += [client_sends(head), backend_sends(data.draw(responses(most=2)))]
    play(Setting(idle=3), *events)


PLAIN = {
    "get": GET,
    "query": b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n",
    "post": b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    "fields": b"GET / HTTP/1.1\r\nAccept: */*\r\nHost: h:80\r\nCookie: a=b\r\nTE: trailers\r\n\r\n",
    "kept": b"DELETE / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    "claims": b"PUT / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 9.9.9.9\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: o\r\nX-Request-Id: i\r\nX_A: b\r\n\r\n",
    "body to come": b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na",
}


@pytest.mark.parametrize("peer", [STRANGER, TRUSTED, ""])
@pytest.mark.parametrize("request_", PLAIN.values(), ids=PLAIN.keys())
def test_usual_requests_take_the_lane(request_: bytes, peer: str) -> None:
    assert took(request_, peer=peer)


NOT_PLAIN = {
    "two blanks": b"GET / HTTP/1.1\r\nHost:  h\r\n\r\n",
    "no blank": b"GET / HTTP/1.1\r\nHost:h\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
    "close": b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "chunked": b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    "two lengths": b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "fold": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
    "expect": b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
    "bare LF": b"GET / HTTP/1.1\r\nHost: h\r\nA: b\nC: d\r\n\r\n",
    "more than the body": b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nab",
    "one more": GET + GET,
    "huge length": b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\n\r\n" % (b"9" * 18),
}


@pytest.mark.parametrize("request_", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_others_do_not(request_: bytes) -> None:
    assert not took(request_)


@pytest.mark.parametrize("count", [22, 23, 24, 25, 26, 50, 99, 100, 101, 130])
@pytest.mark.parametrize("between", [b"", b"X_Dropped: y\r\n", b"X-Forwarded-Port: 1\r\n"])
def test_any_number_of_fields_is_fine_or_left_to_others(count: int, between: bytes) -> None:
    fields = b"".join(b"X-%d: %d\r\n" % (n, n) + between for n in range(count))
    took(b"GET / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n", peer=TRUSTED)
    took(GET, b"HTTP/1.1 204 No Content\r\n" + fields + b"\r\n")


@pytest.mark.parametrize("size", [*range(8150, 8200), 8100, 9000, 20_000])
def test_heads_around_the_size_of_a_read(size: int) -> None:
    before = b"GET / HTTP/1.1\r\nHost: h\r\nA: "
    took(before + b"x" * (size - len(before) - 4) + b"\r\n\r\n", peer=TRUSTED)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_limits_are_those_of_everybody(beyond: int) -> None:
    target = b"/" + b"t" * (99 + beyond)
    request = b"GET %b HTTP/1.1\r\nHost: h\r\nA: b\r\nX_C: d\r\n\r\n" % target
    is_within = beyond <= 0
    limits = Limits(target_bytes=100)  # type: ignore[arg-type]
    assert took(request, limits=limits) is is_within
    limits = Limits(header_bytes=len(request) - 4 - beyond)  # type: ignore[arg-type]
    assert took(request, limits=limits) is is_within
    limits = Limits(header_count=3 - beyond)
    assert took(request, limits=limits) is is_within
    body = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789"
    assert took(body, max_body=9 - beyond) is is_within


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 16_384, 16_385, 60_000, 65_000, 200_000])
@pytest.mark.parametrize("head", [0, 100, 30_000, 60_000, 65_400, 65_600])
def test_answers_of_any_size(size: int, head: int) -> None:
    field = b"A: %b\r\n" % (b"h" * head)
    took(GET, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n" % (size, field) + b"b" * size)


@pytest.mark.parametrize("path", [b'/"\\', b"/" + b'"' * 7900, b"/" + b"\\a" * 60, b"/%22"])
def test_any_path_can_be_logged(path: bytes) -> None:
    assert took(b"GET %b?secret HTTP/1.1\r\nHost: h\r\n\r\n" % path)


HOPS = [
    b"1.2.3.4", b"1.2.3.4, 10.0.0.9", b"10.0.0.9", b"unknown", b"::ffff:1.2.3.4", b"FE80::A",
    b"fe80::1%eth0", b'fe80::1%"}', b'fe80::1%\\"', b"fe80::1%\xe9", b"fe80::1%a\tb", b"%", b",",
    b"fe80::1%" + b"\xe9" * 4000, b"fe80::1%" + b'"' * 4000, b" , ".join([b"10.0.0.9"] * 300),
]  # fmt: skip


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("peer", [STRANGER, TRUSTED, ""])
def test_any_client_address_can_be_logged(hop: bytes, peer: str) -> None:
    took(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: " + hop + b"\r\n\r\n", peer=peer)
