"""Connections on both sides: kept, reused, pipelined, half-closed, retried."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from tests.flow.conftest import Plain
from tests.support.harness import proxy, to_backend
from tests.support.origin import Peer, Script, origin, response
from tests.support.waiting import eventually, settled

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_one_connection_on_each_side_serves_many_requests() -> None:
    with (
        origin() as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(50):
            assert client.get().status == 200
        assert backend.connections == 1


def test_many_clients_share_few_backend_connections() -> None:
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        for _ in range(50):
            assert running.get().status == 200
        assert backend.connections == 1


def test_http_1_0_clients_may_keep_their_connection(plain: Plain) -> None:
    with plain.proxy.client() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert client.reply().header(b"connection") == b"keep-alive"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.reply().header(b"connection") == b"close"
        assert client.is_at_eof()


def test_connection_close_is_honoured(plain: Plain) -> None:
    with plain.proxy.client() as client:
        reply = client.get(fields="Connection: close\r\n")
        assert reply.header(b"connection") == b"close"
        assert client.is_at_eof()


def test_a_backend_that_closes_does_not_close_the_client() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(response(b"x", fields=b"Connection: close\r\n"))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(3):
            reply = client.get()
            assert (reply.body, reply.header(b"connection")) == (b"x", None)
        assert backend.connections == 3


def test_blank_lines_between_requests_are_ignored(plain: Plain) -> None:
    with plain.proxy.client() as client:
        client.send(b"\r\n\r\n" + GET)
        assert client.reply().status == 200
        client.send(b"\r")
        client.send(b"\n" + GET)
        assert client.reply().status == 200


# -- pipelining --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1 << 20, 1000, 7])
def test_pipelined_requests_are_answered_in_order(plain: Plain, step: int) -> None:
    wire = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
        % (n, len(b"%d" % n), b"%d" % n)
        if n % 2
        else b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n
        for n in range(100)
    )
    with plain.proxy.client() as client:
        for at in range(0, len(wire), step):
            client.send(wire[at : at + step])
        for n in range(100):
            assert client.reply().body == (b"%d" % n if n % 2 else b"")


def test_a_half_closed_client_gets_all_its_answers(plain: Plain) -> None:
    with plain.proxy.client() as client:
        client.send(GET * 3 + b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        client.send_eof()
        assert [client.reply().body for _ in range(4)] == [b"", b"", b"", b"abc"]
        assert client.is_at_eof()


def test_a_half_closed_client_gets_a_late_answer() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        assert go.wait(20)
        peer.send(response(b"late"))
        peer.until_eof()

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(GET)
        client.send_eof()
        eventually(lambda: backend.requests, "request at the backend")
        go.set()
        assert client.reply().body == b"late"
        assert client.is_at_eof()


def test_a_pipelined_body_that_ends_early_is_refused(plain: Plain) -> None:
    with plain.proxy.client() as client:
        client.send(GET + b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nabc")
        client.send_eof()
        assert client.reply().status == 200
        assert client.reply().status == 400
        assert client.is_at_eof()


def test_a_pipelining_client_that_does_not_read_is_not_served_further() -> None:
    body = os.urandom(60_000)  # one read of ours: the answer is over when it is blocked

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(body))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client(rcvbuf=4096) as client,
    ):
        running.get()
        before = running.rss()
        client.send(GET * 1000)
        assert settled(lambda: len(backend.requests)) < 500
        assert running.rss() - before < 8 << 20
        for _ in range(1000):
            assert client.reply().body == body


# -- dead pooled connections -------------------------------------------------------------------


def fin_when_idle(peer: Peer) -> None:
    peer.request()
    peer.send(response(b"ok"))


def rst_when_idle(peer: Peer) -> None:
    peer.request()
    peer.send(response(b"ok"))
    peer.reset()


def rst_after_a_second_head(peer: Peer) -> None:
    if peer.request() is not None:
        peer.send(response(b"ok"))
        peer.read_some()
        peer.reset()


def fin_after_a_second_head(peer: Peer) -> None:
    if peer.request() is not None:
        peer.send(response(b"ok"))
        peer.request()


DYING: list[Script] = [
    fin_when_idle,
    rst_when_idle,
    rst_after_a_second_head,
    fin_after_a_second_head,
]


@pytest.mark.parametrize("script", DYING, ids=lambda script: script.__name__)
@pytest.mark.parametrize("is_unix", [False, True])
def test_a_dead_pooled_connection_never_fails_a_get(
    script: Script, is_unix: bool, tmp_path: Path
) -> None:
    path = tmp_path / "b.sock" if is_unix else None
    with origin(script, path=path) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            for _ in range(300):
                assert client.get().status == 200
        retries = sum(line["retries"] for line in running.logged(300))
        if script in (rst_after_a_second_head, fin_after_a_second_head):
            assert retries >= 140


@pytest.mark.parametrize("script", [rst_after_a_second_head, fin_after_a_second_head])
@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_post_is_never_sent_twice(script: Script, body: bytes) -> None:
    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        failed = 0
        for n in range(100):
            with running.client() as client:
                client.send(
                    b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
                    % (n, len(body), body)
                )
                failed += client.reply().status == 502
        assert failed == 50
        targets = [line for peer in backend.peers for line in peer.received.split(b"POST ")[1:]]
        seen = [bytes(line.split(b" ")[0]) for line in targets]
        assert len(seen) == len(set(seen)) == 100


def test_a_put_whose_body_was_sent_is_not_sent_twice() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(response())
        peer.request()

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        running.get()
        with running.client() as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
            assert client.reply().status == 502
        assert backend.connections == 1


def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    def script(peer: Peer) -> None:
        peer.request()

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        assert running.get().status == 502
        assert backend.connections == 1
        assert running.logged(1)[0]["error_kind"] == "backend-closed"


# -- early answers -----------------------------------------------------------------------------


def refuse_and_read_on(peer: Peer) -> None:
    peer.head()
    peer.send(response(b"too large", status=b"413 Content Too Large"))
    peer.until_eof()


def refuse_and_close(peer: Peer) -> None:
    peer.head()
    peer.send(response(b"too large", status=b"413 Content Too Large"))


def refuse_later_and_close(peer: Peer) -> None:
    peer.head()
    peer.take(3 << 20)
    peer.send(response(b"too large", status=b"413 Content Too Large"))


@pytest.mark.parametrize("script", [refuse_and_read_on, refuse_and_close, refuse_later_and_close])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_client_that_writes_on_reads_the_early_answer(script: Script, is_chunked: bool) -> None:
    size = 14 << 20
    head = b"POST / HTTP/1.1\r\nHost: h\r\n"
    if is_chunked:
        head += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size
    else:
        head += b"Content-Length: %d\r\n\r\n" % size
    # A backend that takes little ahead: else its kernel takes it all, and then nothing is early.
    with (
        origin(script, rcvbuf=65536) as backend,
        proxy(to_backend(backend.address)) as running,
    ):
        for _ in range(15):
            with running.client() as client:
                client.send(head)
                client.send(bytes(size))
                reply = client.reply()
                assert (reply.status, reply.body) == (413, b"too large")
                if reply.header(b"connection") == b"close":
                    assert client.is_at_eof()
                else:  # all of the body was read before the answer was: then it is not early
                    client.send(head + bytes(size))
                    assert client.reply().status == 413


def test_a_body_beyond_what_lingering_drops_is_cut_but_answered() -> None:
    limits = 'lingering_bytes = "1MiB"\nlingering_timeout = "100s"'
    sent, size = 0, 200 << 20  # much more than all kernels hold
    with (
        origin(refuse_and_read_on) as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        running.client() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        with contextlib.suppress(OSError):
            while sent < size:
                client.send(bytes(1 << 20))
                sent += 1 << 20
        assert client.reply().status == 413
    assert sent < size / 2


def test_a_whole_request_may_be_answered_before_it_is_read() -> None:
    """The backend answers before it has read all, then reads the rest: all are kept."""

    def script(peer: Peer) -> None:
        while (request := peer.head()) is not None:
            peer.send(response(b"early"))
            peer.take(int(request.header(b"content-length") or 0))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(20):
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
            assert client.reply().body == b"early"


# -- bytes nobody asked for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
    ids=repr,
)
def test_bytes_behind_an_answer_are_nobodys_answer(method: str, answer: bytes) -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer + response(b"stolen"))

    limit = "max_connections = 1"
    with origin(script) as backend, proxy(to_backend(backend.address, limit)) as running:
        clients = [running.client() for _ in range(8)]
        for client in clients:
            client.send(f"{method} / HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        for client in clients:
            with client:
                reply = client.reply(is_head=method == "HEAD")
                assert reply.body in (b"", b"ok")
        assert backend.connections == 8


def test_a_pooled_connection_is_not_cut_in_the_middle_of_a_slow_upload() -> None:
    limits = 'idle_timeout = "500ms"'
    with (
        origin() as backend,
        proxy(to_backend(backend.address, limits)) as running,
        running.client() as client,
    ):
        assert client.get().status == 200
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        peer = eventually(lambda: len(backend.requests) == 2 and backend.peers[0], "the head")
        done = threading.Event()
        for n in range(8):
            done.wait(0.2)  # more than the idle timeout in all: that is what is tested
            client.send(b"%d" % n)
        client.send(b"8")
        assert client.reply().body == b"012345678"
        assert backend.peers == [peer]


def test_idle_backend_connections_are_closed_in_time() -> None:
    limits = 'idle_timeout = "500ms"'
    with origin() as backend, proxy(to_backend(backend.address, limits)) as running:
        running.get()
        eventually(lambda: not backend.threads[0].is_alive(), "closed")


def test_keep_alive_hints_of_the_backend_are_honoured() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=b"Keep-Alive: timeout=2\r\n"))

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        running.get()
        eventually(lambda: not backend.threads[0].is_alive(), "closed", within=5)
