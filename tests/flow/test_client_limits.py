"""One client may have so many connections and requests; the others never notice.

Each loopback address is a client. Requests go by the express lane (PLAIN) and by the general way.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.client import Client, Reply
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, echo, origin, response
from tests.support.waiting import eventually

PLAIN = b"GET /a HTTP/1.1\r\nHost: h\r\n%b\r\n"
GENERAL = b"GET /a HTTP/1.1\r\nHost:  h\r\n%b\r\n"
SPELLINGS = pytest.mark.parametrize("spelling", [PLAIN, GENERAL], ids=["lane", "general"])

RATE = 'requests_per_client = 0.001\nrequest_burst = 5\nlingering_timeout = "30s"'
TRUST = 'trusted_proxies = ["127.0.0.8/32"]'
BALANCER = "127.0.0.8"


def visitor(running: Proxy, source: str) -> Client:
    return running.client(source=source)


def ask(client: Client, spelling: bytes, chain: str = "") -> Reply:
    fields = f"X-Forwarded-For: {chain}\r\n".encode() if chain else b""
    client.send(spelling % fields)
    return client.reply()


def statuses(client: Client, spelling: bytes, asked: int, chain: str = "") -> list[int]:
    return [ask(client, spelling, chain).status for _ in range(asked)]


@pytest.fixture
def rated() -> Iterator[Proxy]:
    with (
        origin(echo) as backend,
        proxy(to_backend(backend.address, limits=RATE, server=TRUST)) as running,
    ):
        yield running


@SPELLINGS
def test_who_asks_too_often_is_told_when_to_come_back(rated: Proxy, spelling: bytes) -> None:
    with visitor(rated, "127.0.0.1") as client, visitor(rated, "127.0.0.2") as other:
        assert statuses(client, spelling, 5) == [200] * 5
        reply = ask(client, spelling)
        assert (reply.status, reply.body) == (429, b"429 client: rate-limited\n")
        assert reply.header(b"retry-after") == b"1000"
        assert statuses(client, spelling, 3) == [429] * 3  # on the same connection
        with visitor(rated, "127.0.0.1") as another:
            assert ask(another, spelling).status == 429
        assert statuses(other, spelling, 6) == [200] * 5 + [429]
    lines = rated.logged(16)
    assert [line["error_kind"] for line in lines].count("rate-limited") == 6
    rejected = 'fastproxy_rejected_total{reason="rate-limited"}'
    eventually(lambda: rated.metric(rejected) == 6, "counted")


def test_a_refused_body_is_read_to_its_end_so_that_the_answer_is_seen(rated: Proxy) -> None:
    with visitor(rated, "127.0.0.1") as client:
        statuses(client, PLAIN, 5)
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n")
        client.send(bytes(9_000_000))
        assert client.reply().status == 429
        assert client.is_at_eof()


@SPELLINGS
def test_behind_a_trusted_proxy_the_client_is_whom_it_names(rated: Proxy, spelling: bytes) -> None:
    one, other = "198.51.100.7", "2001:db8:0:1::5"
    with visitor(rated, BALANCER) as balancer:
        assert statuses(balancer, spelling, 6, f"6.6.6.6, {one}") == [200] * 5 + [429]
        assert statuses(balancer, spelling, 5, other) == [200] * 5
        assert ask(balancer, spelling, "2001:db8:0:1::6").status == 429
        assert statuses(balancer, spelling, 8) == [200] * 8  # its own
        with visitor(rated, one.replace("198.51.100", "127.0.0")) as stranger:
            assert statuses(stranger, spelling, 6, "203.0.113.1") == [200] * 5 + [429]
            assert ask(stranger, spelling, "203.0.113.2").status == 429
    assert {line["remote_ip"] for line in rated.logged(27)} == {
        *(one, other, "2001:db8:0:1::6", BALANCER, "127.0.0.7")
    }


def test_who_has_too_many_connections_is_told_and_then_cut() -> None:
    limits = 'connections_per_client = 2\nlingering_timeout = "30s"'
    with (
        origin(echo) as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        visitor(running, "127.0.0.1") as first,
        visitor(running, "127.0.0.1") as second,
    ):
        assert (ask(first, PLAIN).status, ask(second, PLAIN).status) == (200, 200)
        refused = [visitor(running, "127.0.0.1") for _ in range(2)]
        for client in refused:
            client.send(PLAIN % b"")
            reply = client.reply()
            assert (reply.status, reply.body) == (429, b"429 client: too-many-of-client\n")
            assert reply.header(b"retry-after") == b"5"
            assert client.is_at_eof()
        for _ in range(3):
            # The reset may come before connect(2) has returned.
            with suppress(ConnectionResetError), visitor(running, "127.0.0.1") as client:
                assert client.is_at_eof()
        eventually(lambda: running.metric("fastproxy_connections_cut_total") == 3, "counted")
        with visitor(running, "127.0.0.2") as other:
            assert ask(other, PLAIN).status == 200
        assert (ask(first, PLAIN).status, ask(second, PLAIN).status) == (200, 200)
        for client in (*refused, second):
            client.sock.close()
        eventually(lambda: running.connections() == 1, "one left")
        with visitor(running, "127.0.0.1") as again:
            assert ask(again, PLAIN).status == 200


@SPELLINGS
def test_behind_a_trusted_proxy_requests_count_instead_of_connections(spelling: bytes) -> None:
    opened = threading.Event()

    def slow(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.header(b"x-slow"):
                opened.wait(20)
            peer.send(response(b"x"))

    limits = "connections_per_client = 2"
    with (
        origin(slow) as backend,
        proxy(to_backend(backend.address, limits=limits, server=TRUST)) as running,
    ):
        balancers = [visitor(running, BALANCER) for _ in range(4)]
        for balancer in balancers:
            assert statuses(balancer, spelling, 4, "198.51.100.7") == [200] * 4
        held = spelling % b"X-Forwarded-For: 198.51.100.7\r\nX-Slow: 1\r\n"
        for balancer in balancers[:2]:
            balancer.send(held)
        eventually(lambda: sum(r.header(b"x-slow") is not None for r in backend.requests) == 2, "2")
        assert ask(balancers[2], spelling, "198.51.100.7").status == 429
        assert ask(balancers[2], spelling, "198.51.100.8").status == 200
        opened.set()
        assert [balancer.reply().status for balancer in balancers[:2]] == [200, 200]
        for balancer in balancers:
            assert statuses(balancer, spelling, 4, "198.51.100.7") == [200] * 4
        balancers[0].send(held)
        balancers[0].reset()
        eventually(lambda: running.connections() == 3, "gone")
        balancers[1].send(held)
        assert balancers[1].reply().status == 200
        assert ask(balancers[2], spelling, "198.51.100.7").status == 200
        for balancer in balancers[1:]:
            balancer.sock.close()
