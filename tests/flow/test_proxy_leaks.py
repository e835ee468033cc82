"""What a client leaves behind: nothing."""

import os

from tests.support.client import Client
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually

CYCLES = 2000
POST = b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc"


def at_rest(running: Proxy) -> bool:
    """Whether the worker serves nobody."""
    return running.connections() == 0 and running.metric("fastproxy_requests_in_flight") == 0


def reset_at_any_point(client: Client, number: int) -> None:
    wire = [
        b"",
        b"GET / HT",
        b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n",
        POST % number,
        b"bad\r\n\r\n",
    ]
    client.send(wire[number % len(wire)])
    if number % 3:
        client.reset()


def test_two_thousand_resets_leave_no_descriptor_and_no_memory() -> None:
    big = os.urandom(200_000)

    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            peer.send(response(big if request.target == b"/big" else b""))

    with origin(script) as backend, proxy(to_backend(backend.address, "max_idle = 0")) as running:

        def cycles() -> None:
            for number in range(CYCLES):
                with running.client() as client:
                    reset_at_any_point(client, number)
            assert running.get().status == 200  # accepted after all of those

        running.get()
        eventually(lambda: at_rest(running), "at rest")
        descriptors = running.descriptors()
        cycles()
        eventually(lambda: running.descriptors() <= descriptors, "descriptors closed")
        rss = running.rss()
        cycles()
        eventually(lambda: running.descriptors() <= descriptors, "descriptors closed")
        eventually(lambda: at_rest(running), "at rest")
        assert running.rss() - rss < 2 << 20


def test_unix_clients_leave_nothing_either() -> None:
    with origin() as backend, proxy(to_backend(backend.address, "max_idle = 0")) as running:
        with running.unix_client() as client:
            client.get()
        eventually(lambda: at_rest(running), "at rest")
        before = running.descriptors()
        for _ in range(300):
            with running.unix_client() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: at_rest(running), "at rest")
        eventually(lambda: running.descriptors() <= before, "descriptors closed")
