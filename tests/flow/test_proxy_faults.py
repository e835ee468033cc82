"""Whose fault it was: what the client reads, and what the access log says."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import pytest

from tests.flow.conftest import Plain
from tests.support.client import Client
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, chunked, origin, response, unused_port
from tests.support.waiting import eventually

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"


def last_end(running: Proxy) -> tuple[str, str, int]:
    """Of the only request."""
    (line,) = running.logged(1)
    return line["end"], line["error_kind"], line["status"]


def in_flight(running: Proxy, count: int) -> bool:
    return running.metric("fastproxy_requests_in_flight") == count


# -- the backend -------------------------------------------------------------------------------


def test_a_refused_connection_is_the_backends_fault() -> None:
    address = f"http://127.0.0.1:{unused_port()}"
    with proxy(to_backend(address)) as running:
        with running.client() as client:
            reply = client.get()
            assert (reply.status, reply.body) == (502, b"502 backend: connect-failed\n")
            assert parsedate_to_datetime(reply.all(b"date")[0].decode())
            client.send(POST % 3 + b"abc")
            assert client.reply().status == 502
        assert running.logged(2)[0]["end"] == "backend"
        assert f"connect-failed: {address}: " in running.error_log.read_text()


def test_a_missing_unix_socket_is_the_backends_fault(tmp_path: Path) -> None:
    with proxy(to_backend(f"unix:{tmp_path}/none")) as running:
        assert running.get().status == 502
        assert last_end(running) == ("backend", "connect-failed", 502)


def test_a_backend_that_comes_later_is_found() -> None:
    port = unused_port()
    with proxy(to_backend(f"http://127.0.0.1:{port}")) as running:
        assert running.get().status == 502
        with origin(port=port):
            assert running.get().status == 200


def test_a_backend_that_does_not_accept_times_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with proxy(to_backend(address, 'connect_timeout = "300ms"')) as running:
            assert running.get().status == 504
            assert last_end(running) == ("backend", "connect-timeout", 504)
        for filler in fillers:
            filler.close()


def test_a_backend_that_does_not_answer_times_out() -> None:
    def script(peer: Peer) -> None:
        peer.until_eof()

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, 'header_timeout = "500ms"')) as running,
    ):
        reply = running.get()
        assert (reply.status, reply.body) == (504, b"504 backend: backend-timeout\n")
        assert last_end(running) == ("backend", "backend-timeout", 504)
        eventually(lambda: not backend.threads[0].is_alive(), "the backend is let go")


@pytest.mark.parametrize("drop", [b"A: b\r\n", b"\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n"])
def test_a_head_that_drips_is_not_waited_for_beyond_its_time(drop: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\n")
        while True:
            peer.drip(drop, 1, 0.01)

    backend_ = 'header_timeout = "700ms"'
    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, backend=backend_)) as running,
        running.client() as client,
    ):
        client.send(GET)
        assert client.reply().status == 504
        assert last_end(running) == ("backend", "backend-timeout", 504)


def test_a_backend_that_stalls_in_its_body_cuts_the_client() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        peer.until_eof()

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, 'body_timeout = "500ms"')) as running,
        running.client() as client,
    ):
        client.send(GET)
        assert client.head().status == 200
        assert client.take(3) == b"abc"
        assert client.is_at_eof()
        assert last_end(running) == ("backend", "backend-timeout", 200)


PARTIAL = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "before the end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
}


@pytest.fixture(scope="module")
def fickle() -> Iterator[Plain]:
    """A backend whose script each test sets. Its scripts must not keep a connection."""
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        yield Plain(running, backend)


@pytest.mark.parametrize("raw", PARTIAL.values(), ids=PARTIAL.keys())
@pytest.mark.parametrize("ending", ["fin", "reset"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_backend_that_dies_in_its_body_never_looks_complete(
    fickle: Plain, raw: bytes, ending: str, version: bytes
) -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)
        go.wait(20)
        if ending == "reset":
            peer.reset()

    fickle.backend.script = script
    before = len(fickle.proxy.logged())
    with fickle.proxy.client() as client:
        client.send(b"GET / HTTP/%b\r\nHost: h\r\n\r\n" % version)
        reply = client.head()
        go.set()
        if reply.header(b"transfer-encoding"):
            assert b"".join(client.chunks(reply)) == b"abc"
            assert not reply.is_complete
        elif reply.header(b"content-length"):
            with contextlib.suppress(ConnectionResetError):
                assert len(client.until_eof()) < 10
        else:
            with pytest.raises(ConnectionResetError):
                client.until_eof()
    line = fickle.proxy.logged(before + 1)[-1]
    assert (line["end"], line["error_kind"], line["status"]) == ("backend", "backend-closed", 200)


BAD_ANSWERS = {
    "garbage": b"hello\r\n\r\n",
    "CL and TE": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "head too large": b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 70_000,
    "unasked 101": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "nothing": b"",
    "only an interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
}


@pytest.mark.parametrize("raw", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_broken_answer_is_a_502(fickle: Plain, raw: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)

    fickle.backend.script = script
    before = len(fickle.proxy.logged())
    with fickle.proxy.client() as client:
        assert client.get().status == 502
        client.send(GET)
        assert client.reply().status == 502
    for line in fickle.proxy.logged(before + 2)[before:]:
        assert (line["end"], line["status"]) == ("backend", 502)


def test_requests_wait_for_a_connection_and_then_get_503() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            go.wait(20)
            peer.send(response(b"ok"))

    settings = 'max_connections = 1\nqueue = 2\nqueue_timeout = "20s"'
    with origin(script) as backend, proxy(to_backend(backend.address, settings)) as running:
        clients = [running.client() for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(GET)
            eventually(partial(in_flight, running, number + 1), "served")
        refused = running.get()
        assert (refused.status, refused.header(b"retry-after")) == (503, b"5")
        go.set()
        for client in clients:
            with client:
                assert client.reply().body == b"ok"
        assert backend.connections == 1
        assert running.logged(4)[0]["error_kind"] == "backend-busy"


def test_waiting_for_a_connection_ends_in_time_or_with_the_client() -> None:
    def script(peer: Peer) -> None:
        peer.until_eof()

    settings = 'max_connections = 1\nqueue_timeout = "700ms"'
    with origin(script) as backend, proxy(to_backend(backend.address, settings)) as running:
        with running.client() as holder, running.client() as leaver:
            holder.send(GET)
            eventually(lambda: backend.received, "held")
            leaver.send(GET)
            eventually(lambda: running.metric("fastproxy_requests_in_flight") == 2, "waits")
            leaver.reset()
            assert running.get().status == 503
        assert backend.connections == 1


def test_a_failed_connect_does_not_strand_those_who_wait() -> None:
    settings = 'max_connections = 1\nqueue_timeout = "60s"'
    with proxy(to_backend(f"http://127.0.0.1:{unused_port()}", settings)) as running:
        clients = [running.client() for _ in range(20)]
        for client in clients:
            client.send(GET)
        for client in clients:
            with client:
                assert client.reply().status == 502


# -- the client --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict() -> Iterator[Proxy]:
    limits = """
header_timeout = "700ms"
idle_timeout = "1s"
body_timeout = "700ms"
body = "64KiB"
header_bytes = "4KiB"
header_count = 10
target_bytes = "1KiB"
"""
    with origin() as backend, proxy(to_backend(backend.address, limits=limits)) as running:
        yield running


REFUSED = {
    "a declared body over the limit": (POST % 65537, 413),
    "a chunked body over the limit": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(bytes(65537)),
        413,
    ),
    "a long target": (b"GET /" + b"a" * 1024 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
    "an endless target": (b"GET /" + b"a" * 6000, 414),
    "a long target that does not end": (b"GET /" + b"a" * 1100, 414),
    "a large head": (GET[:-2] + b"A: " + b"b" * 5000 + b"\r\n\r\n", 431),
    "a large head that does not end": (GET[:-2] + b"A: " + b"b" * 5000, 431),
    "many fields": (GET[:-2] + b"A: b\r\n" * 10 + b"\r\n", 431),
    "many fields that do not end": (GET[:-2] + b"A: b\r\n" * 11, 431),
    "a broken head": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a head that cannot become one": (b"\x16\x03\x01", 400),
    "bare LF that never ends": (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    "an unknown expectation": (POST[:-2] % 3 + b"Expect: x\r\n\r\n", 417),
    "connect": (b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 405),
    "a broken chunk": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        400,
    ),
    "an incomplete head": (b"GET / HTTP/1.1\r\nHost:", 408),
    "an incomplete body": (POST % 10 + b"abc", 408),
    "an incomplete chunk": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        408,
    ),
}


@pytest.mark.parametrize(("wire", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_client_does_wrong_is_answered_and_ends(
    strict: Proxy, wire: bytes, status: int
) -> None:
    with strict.client() as client:
        client.send(wire)
        reply = client.reply()
        assert reply.status == status
        assert reply.body.startswith(b"%d client: " % status)
        assert reply.header(b"connection") == b"close"
        assert client.is_at_eof()


STILL_SENDING = {
    "a declared body over the limit": (POST % (8 << 20) + bytes(8 << 20), 413),
    "a chunked body over the limit": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(*[bytes(1 << 20)] * 8),
        413,
    ),
    "an endless target": (b"GET /" + b"a" * (8 << 20), 414),
    "an endless field": (GET[:-2] + b"A: " + b"b" * (8 << 20), 431),
    "fields without end": (GET[:-2] + b"A: b\r\n" * (1 << 20), 431),
}


@pytest.mark.parametrize(("wire", "status"), STILL_SENDING.values(), ids=STILL_SENDING.keys())
def test_a_client_that_sends_on_still_sees_why_it_is_refused(
    strict: Proxy, wire: bytes, status: int
) -> None:
    with strict.client() as client:
        client.send(wire)  # all of it: a reset would fail here or hide the answer
        assert client.reply().status == status
        assert client.is_at_eof()


def sends_until_left(client: Client, data: bytes) -> None:
    pause = threading.Event()
    try:
        for _ in range(200):
            client.send(data)
            pause.wait(0.05)
    except OSError:
        return
    raise AssertionError("still open")


def test_a_refused_client_that_never_stops_sending_is_left_in_time() -> None:
    limits = 'body = "1KiB"\nlingering_timeout = "700ms"'
    with origin() as backend, proxy(to_backend(backend.address, limits=limits)) as running:
        with running.client() as client:
            client.send(POST % 1_000_000)
            assert client.reply().status == 413
            sends_until_left(client, b"x")
        eventually(lambda: running.connections() == 0, "gone")


def test_an_idle_client_is_closed_without_a_word(strict: Proxy) -> None:
    with strict.client() as client:
        assert client.get().status == 200
        assert client.is_at_eof()
    with strict.client() as client:
        assert client.is_at_eof()


def test_blank_lines_do_not_keep_a_connection(strict: Proxy) -> None:
    with strict.client() as client:
        sends_until_left(client, b"\r\n")


def test_a_body_below_the_minimum_rate_is_refused() -> None:
    limits = 'min_body_rate = "10KiB"\nrate_grace = "1s"\nbody_timeout = "60s"'
    with (
        origin() as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        running.client() as client,
    ):
        client.send(POST % 100_000)
        pause = threading.Event()
        for _ in range(40):
            try:
                client.send(b"x" * 10)
            except OSError:
                break
            pause.wait(0.1)
        assert client.reply().status == 408
        assert last_end(running) == ("client", "too-slow", 408)


def test_a_reader_that_takes_nothing_is_cut() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(response(bytes(30 << 20)))

    limits = 'send_timeout = "700ms"'
    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        running.client(rcvbuf=4096) as client,
    ):
        client.send(GET)
        assert last_end(running) == ("client", "client-gone", 200)
        eventually(lambda: running.connections() == 0, "gone")


def read_slowly(client: Client) -> None:
    """Some 2 KB a second, until the connection is cut."""
    pause = threading.Event()
    with contextlib.suppress(OSError):
        while client.sock.recv(100):
            pause.wait(0.05)


RATE = 'min_send_rate = "50KiB"\nrate_grace = "1s"\nsend_timeout = "60s"'


def test_a_reader_below_the_minimum_rate_is_cut() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(response(bytes(30 << 20)))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, limits=RATE)) as running,
        running.client(rcvbuf=4096) as client,
    ):
        client.send(GET)
        read_slowly(client)
        assert last_end(running) == ("client", "too-slow", 200)
        eventually(lambda: running.connections() == 0, "gone")


def test_a_reader_below_the_minimum_rate_is_cut_also_when_its_answers_are_complete() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(bytes(100_000)))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, limits=RATE)) as running,
        running.client(rcvbuf=4096) as client,
    ):
        client.send(GET * 200)
        read_slowly(client)
        eventually(lambda: running.connections() == 0, "gone")
        assert len(running.logged()) < 200


def test_a_backend_below_the_minimum_rate_is_no_fault_of_the_reader() -> None:
    body = bytes(2000)

    def script(peer: Peer) -> None:
        peer.request()
        head = response(body).removesuffix(body)
        peer.send(head)
        pause = threading.Event()
        for at in range(0, len(body), 50):
            peer.send(body[at : at + 50])
            pause.wait(0.05)

    limits = 'min_send_rate = "1MiB"\nrate_grace = "0s"\nsend_timeout = "60s"'
    with origin(script) as backend, proxy(to_backend(backend.address, limits=limits)) as running:
        assert running.get().body == body
        assert last_end(running) == ("ok", "", 200)


def test_a_reader_that_never_takes_the_end_is_cut() -> None:
    """The response is complete for us, its last bytes wait in our memory."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(bytes(100_000)))

    limits = 'send_timeout = "700ms"'
    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        running.client(rcvbuf=4096) as client,
    ):
        client.send(GET * 200 + GET[:-2] + b"Connection: close\r\n\r\n")
        eventually(lambda: running.connections() == 1, "served")
        eventually(lambda: running.connections() == 0, "gone")


def test_a_client_that_leaves_takes_its_backend_request_along() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            peer.send(bytes(100_000))

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            client.send(GET)
            client.take(1 << 20)
            client.reset()
        eventually(lambda: not backend.threads[0].is_alive(), "the backend is told")
        assert last_end(running) == ("client", "client-gone", 200)


def test_a_client_that_leaves_before_its_answer_takes_its_backend_request_along() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.until_eof()

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            client.send(GET)
            eventually(lambda: backend.requests, "arrived")
            client.reset()
        eventually(lambda: not backend.threads[0].is_alive(), "the backend is told")
        assert last_end(running)[:2] == ("client", "client-gone")


def test_a_client_that_leaves_in_its_body_takes_its_backend_request_along() -> None:
    def script(peer: Peer) -> None:
        peer.until_eof()

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            client.send(POST % 1000 + b"abc")
            eventually(lambda: backend.received > 100, "arrived")
            client.reset()
        eventually(lambda: not backend.threads[0].is_alive(), "the backend is told")
        assert last_end(running)[:2] == ("client", "client-gone")


def test_too_many_clients_are_told_so() -> None:
    with (
        origin() as backend,
        proxy(to_backend(backend.address, limits="connections = 3")) as running,
    ):
        clients = [running.client() for _ in range(3)]
        for client in clients:
            assert client.get().status == 200
        assert running.get().status == 503
        clients.pop().sock.close()
        eventually(lambda: running.connections() == 2, "one left")
        assert running.get().status == 200
        for client in clients:
            client.sock.close()


def test_every_request_has_exactly_one_log_line() -> None:
    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.target == b"/die":
                return
            peer.send(response(b"x"))

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            client.send(GET * 5)
            for _ in range(5):
                client.reply()
            client.get("/die")
            client.send(b"POST /gone HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
        with running.client() as client:
            client.send(b"bad\r\n\r\n")
            client.reply()
        with running.client():
            pass  # no request, no line
        lines = running.logged(8)
        ends = sorted((line["path"], line["end"], line["error_kind"]) for line in lines)
        gone = ends[-1][2]
        assert gone in ("client-gone", "bad-body")
        assert ends == [
            ("-", "client", "bad-head"),
            *[("/", "ok", "")] * 5,
            ("/die", "backend", "backend-closed"),
            ("/gone", "client", gone),
        ]
        assert running.metric("fastproxy_requests_in_flight") == 0
