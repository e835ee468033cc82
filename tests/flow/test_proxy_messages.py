"""Heads and bodies through the proxy, both ways, byte for byte."""

import os
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.flow.conftest import Plain
from tests.support.client import Client, Reply
from tests.support.harness import proxy, to_backend
from tests.support.origin import Peer, Request, chunked, origin, response

SIZES = [0, 1, 65535, 65536, 65537, 10 << 20]


def post(client: Client, body: bytes, *, is_chunked: bool, step: int = 60_000) -> Reply:
    if is_chunked:
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        wire, framing = chunked(*pieces, trailers=b"X-Late: 1\r\n"), "Transfer-Encoding: chunked"
    else:
        wire, framing = body, f"Content-Length: {len(body)}"
    client.send(f"POST /p HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n".encode() + wire)
    return client.reply()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_request_bodies_arrive_whole(plain: Plain, size: int, is_chunked: bool) -> None:
    body = os.urandom(size)
    with plain.proxy.client() as client:
        reply = post(client, body, is_chunked=is_chunked)
    assert (reply.status, reply.body == body) == (200, True)


def test_bodies_travel_over_unix_sockets_on_both_sides(tmp_path: Path) -> None:
    body = os.urandom(300_000)
    with (
        origin(path=tmp_path / "b.sock") as backend,
        proxy(to_backend(backend.address)) as running,
        running.unix_client() as client,
    ):
        for is_chunked in (True, False, True):
            assert post(client, body, is_chunked=is_chunked).body == body
        assert backend.connections == 1
        assert backend.requests[0].header(b"x-forwarded-proto") == b"http"


def sized(peer: Peer) -> None:
    """Answer `/KIND/SIZE` with that many bytes, framed that way."""
    while (request := peer.request()) is not None:
        _, kind, size = request.target.split(b"/")
        body = bytes(range(256)) * (int(size) // 256 + 1)
        body = body[: int(size)]
        if kind == b"length":
            peer.send(response(body))
        elif kind == b"chunked":
            wire = chunked(*[body[at : at + 50_000] for at in range(0, len(body), 50_000)])
            peer.send(response(wire, length=False, fields=b"Transfer-Encoding: chunked\r\n"))
        else:
            peer.send(response(body, length=False))
            return


@pytest.mark.parametrize("kind", ["length", "chunked", "close"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_response_bodies_arrive_whole(kind: str, version: str) -> None:
    with origin(sized) as backend, proxy(to_backend(backend.address)) as running:
        for size in SIZES:
            with running.client() as client:
                client.send(f"GET /{kind}/{size} HTTP/{version}\r\nHost: h\r\n\r\n".encode())
                reply = client.reply()
            assert (reply.status, len(reply.body), reply.is_complete) == (200, size, True)
            assert reply.body == (bytes(range(256)) * (size // 256 + 1))[:size]
            if version == "1.0":
                assert reply.header(b"transfer-encoding") is None


def test_answers_without_bodies_keep_their_heads_and_the_connections() -> None:
    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.method == b"HEAD":
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: a\r\n\r\n")
            else:
                status = request.target[1:]
                peer.send(b"HTTP/1.1 %b X\r\nContent-Length: 0\r\n\r\n" % status)

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        head = client.get("/", method="HEAD")
        assert (head.status, head.header(b"content-length")) == (200, b"12345")
        assert head.header(b"etag") == b"a"
        assert client.get("/204").status == 204
        assert client.get("/304").status == 304
        assert client.get("/200").status == 200
        assert backend.connections == 1


def test_interim_answers_pass_and_http_1_0_clients_are_spared_them() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
            peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + response(b"done"))

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            hints = client.head()
            assert (hints.status, hints.header(b"link")) == (103, b"</a.css>")
            assert client.head().status == 102
            assert client.reply().body == b"done"
        with running.client() as client:
            client.send(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
            assert client.head().status == 200


def test_100_continue_is_for_the_backend_to_say() -> None:
    def script(peer: Peer) -> None:
        request = peer.head()
        assert request is not None
        assert request.header(b"expect") == b"100-continue"
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.send(response(peer.take(5)))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.head().status == 100
        client.send(b"hello")
        assert client.reply().body == b"hello"


def test_a_backend_may_refuse_instead_of_saying_continue() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(response(b"no", status=b"403 Forbidden"))
        peer.until_eof()

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.body) == (403, b"no")
        assert client.is_at_eof()


def test_trailers_and_hop_by_hop_fields_stay_behind() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            body = chunked(b"abc", trailers=b"X-Trailer: 1\r\n")
            fields = b"Transfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n"
            peer.send(response(body, length=False, fields=fields + b"Fastproxy-X: 1\r\n"))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
            b"Connection: X-Mine, TE\r\nX-Mine: 1\r\nX-End: 2\r\nFastproxy-Upload: 1\r\n"
            b"X_Private: 1\r\nKeep-Alive: 1\r\nTrailer: X-Trailer\r\n\r\n"
        )
        client.send(chunked(b"abc", trailers=b"X-Trailer: 1\r\n"))
        reply = client.reply()
        assert reply.body == b"abc"
        assert reply.header(b"x-end") == b"2"
        assert b"x-trailer" not in reply.raw_head.lower()
        assert b"x-hop" not in reply.raw_head.lower()
        assert b"fastproxy-" not in reply.raw_head.lower()
        peer = backend.peers[0]
        request = peer.requests[0]
        names = [line.split(b":")[0].lower() for line in request.raw_head.split(b"\r\n")[1:]]
        assert sorted(names) == [
            b"host",
            b"transfer-encoding",
            b"x-end",
            b"x-forwarded-for",
            b"x-forwarded-host",
            b"x-forwarded-proto",
            b"x-request-id",
        ]
        assert b"X-Trailer" not in bytes(peer.received)


CLAIMS = (
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
    "X-Request-Id: chosen-by-client-01\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
)


def forwarded(request: Request) -> list[bytes | None]:
    names = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip")
    return [request.header(name) for name in names]


def test_a_strangers_claims_are_replaced() -> None:
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        running.get("/", fields=CLAIMS)
        request = backend.requests[0]
        assert forwarded(request) == [b"127.0.0.1", b"http", b"test", None]
        assert request.header(b"forwarded") is None
        assert request.header(b"x-request-id") != b"chosen-by-client-01"
        logged = running.logged(1)[0]
        assert logged["remote_ip"] == "127.0.0.1"
        assert logged["request_id"].encode() == request.header(b"x-request-id")


def test_a_trusted_proxys_claims_are_continued() -> None:
    trusted = 'trusted_proxies = ["127.0.0.0/8"]'
    with origin() as backend, proxy(to_backend(backend.address, server=trusted)) as running:
        running.get("/", fields=CLAIMS)
        request = backend.requests[0]
        assert forwarded(request) == [b"6.6.6.6, 127.0.0.1", b"https", b"evil", b"6.6.6.6"]
        assert request.header(b"x-request-id") == b"chosen-by-client-01"
        assert running.logged(1)[0]["remote_ip"] == "6.6.6.6"


def test_a_peer_on_a_unix_socket_is_a_trusted_proxy() -> None:
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        with running.unix_client() as client:
            client.get("/", fields=CLAIMS)
        assert forwarded(backend.requests[0])[:2] == [b"6.6.6.6, 127.0.0.1", b"https"]
        assert running.logged(1)[0]["remote_ip"] == "6.6.6.6"


def test_fields_and_targets_pass_untouched(plain: Plain) -> None:
    target = "/a%20b/?q=%2F&x=%C3%A9'"
    plain.proxy.get(target, fields="X-B: 1\r\nx-a:  2 \r\nX-B: 3\r\nCookie: a; b\r\n")
    request = next(r for r in plain.backend.requests if r.target == target.encode())
    assert request.all(b"x-b") == [b"1", b"3"]
    assert request.all(b"x-a") == [b"2"]
    assert request.header(b"cookie") == b"a; b"
    assert request.header(b"host") == b"test"


def test_an_answer_in_single_bytes_is_the_same_answer() -> None:
    raw = response(
        chunked(b"abc", b"de" * 10), length=False, fields=b"Transfer-Encoding: chunked\r\n"
    )

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.drip(raw, 1)

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(2):
            assert client.get().body == b"abc" + b"de" * 10
        assert backend.connections == 1


def test_a_request_in_single_bytes_is_the_same_request(plain: Plain) -> None:
    raw = b"POST /drip HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b"abc", b"de"
    )
    with plain.proxy.client() as client:
        for at in range(len(raw)):
            client.send(raw[at : at + 1])
        assert client.reply().body == b"abcde"
        assert client.get().status == 200


def test_a_permission_never_reaches_a_client() -> None:
    """A backend that takes a plain request for our question would hand out a store's signatures."""
    secret = response(b'{"presigned": {}}', fields=_PERMISSION)
    with (
        origin(lambda peer: peer.send(secret) if peer.request() else None) as backend,
        proxy(to_backend(backend.address)) as front,
    ):
        reply = front.get("/files/x/authorize")
        assert (reply.status, reply.body) == (502, b"502 backend: bad-response\n")


_PERMISSION = b"Content-Type: Application/vnd.fastproxy.authorize+json\r\n"


def test_an_answer_without_a_date_gets_one_and_one_with_a_date_keeps_it() -> None:
    old = b"Tue, 15 Nov 1994 08:12:31 GMT"

    def script(peer: Peer) -> None:
        while request := peer.request():
            is_dated = request.target == b"/dated"
            peer.send(response(fields=b"dAte: %b\r\n" % old if is_dated else b""))

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as front,
        front.client() as client,
    ):
        assert client.get("/dated").all(b"date") == [old]
        (added,) = client.get("/").all(b"date")
        assert parsedate_to_datetime(added.decode()).tzinfo is not None
