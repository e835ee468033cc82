"""Fixed answers over real connections."""

import pytest

from fastproxy.config.schema import FixedRoute
from fastproxy.handlers.fixed import make_fixed
from tests.handlers.served import Client, ask, served


def serving(**route):
    return served(lambda tasks: make_fixed(FixedRoute(**route)))


def test_it_answers_with_status_body_and_headers():
    with serving(status=503, body="späti", headers={"Retry-After": "60"}) as running:
        reply = ask(running)
    assert (reply.status, reply.body.decode()) == (503, "späti")
    assert reply.headers["retry-after"] == "60"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["content-length"] == "6"
    assert reply.headers["date"].endswith(" GMT")


def test_a_content_type_of_the_route_is_the_only_one():
    with serving(body="{}", headers={"content-type": "application/json"}) as running:
        assert ask(running).headers["content-type"] == "application/json"


def test_head_gets_the_length_and_no_body():
    with serving(body="hello") as running, Client(running) as client:
        reply = client.ask("/", "HEAD")
        assert (reply.headers["content-length"], reply.body) == ("5", b"")
        assert client.ask("/").body == b"hello"  # nothing of a body was left on the connection


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_no_length(status):
    with serving(status=status) as running, Client(running) as client:
        assert "content-length" not in client.ask("/").headers
        assert client.ask("/").status == status


def test_a_small_body_is_read_first_so_that_the_connection_is_kept():
    with serving(status=204) as running, Client(running) as client:
        for _ in range(3):
            reply = client.ask("/beacon", "POST", body=b"x" * 5000)
            assert reply.status == 204
            assert "connection" not in reply.headers


@pytest.mark.parametrize(
    "framing",
    [
        {"Content-Length": "1000000000"},
        {"Transfer-Encoding": "chunked"},
        {"Content-Length": "5", "Expect": "100-continue"},
    ],
)
def test_other_bodies_are_not_waited_for(framing):
    with serving(body="no") as running:
        reply = ask(running, method="POST", headers=framing)
    assert (reply.status, reply.body, reply.interims) == (200, b"no", [])
    assert reply.headers["connection"] == "close"


def test_a_client_that_leaves_amid_its_body_is_reported_as_gone():
    with serving() as running:
        with Client(running) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        [exchange] = running.reported()
    assert exchange.fault.side.value == "client"


@pytest.mark.parametrize("headers", [{"X-A": "a\r\nX-B: b"}, {"X A": "b"}, {"": "b"}])
def test_headers_that_would_break_the_head_are_refused_at_the_start(headers):
    with pytest.raises(ValueError, match="not valid"):
        make_fixed(FixedRoute(headers=headers))
