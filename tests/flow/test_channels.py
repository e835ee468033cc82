"""Channels with real WebSocket clients and servers: permitted, led elsewhere, watched, ended."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.flow.channel_site import Site, SlowSite, channels, configuration, dial, running
from tests.support.harness import Proxy, proxy
from tests.support.waiting import eventually


def closed(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason of the close frame that comes; 1006: none."""
    try:
        while True:
            client.recv(timeout=20)
    except ConnectionClosed as ended:
        return (ended.rcvd.code, ended.rcvd.reason) if ended.rcvd is not None else (1006, "")


def refused(port: int, **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as error, dial(port, **options):
        pass
    return error.value


def is_over(front: Proxy, end: str, count: int = 1) -> None:
    series = f'fastproxy_channels_total{{end="{end}"}}'
    eventually(lambda: front.metric(series) == count, series)
    eventually(lambda: front.metric("fastproxy_channels_open") == 0, "none is open")
    eventually(lambda: front.connections() == 0, "closed")


# -- as without us -----------------------------------------------------------------------------


def play(connection: ServerConnection) -> None:
    """A server that does what it is told by text, and echoes all else."""
    for message in connection:
        if message == "fragments":
            connection.send(part for part in ("a", "", "b" * 70_000, "c"))
        elif message == "ping":
            connection.ping(b"are you there?").wait(10)
            connection.send("pong came")
        elif isinstance(message, str) and message.startswith("close "):
            connection.close(int(message.split()[1]), "as you wish")
            return
        else:
            connection.send(message)


def transcript(port: int, **options: Any) -> list[Any]:
    """All that a client sees of a conversation."""
    seen: list[Any] = []
    options["subprotocols"] = ["chat", "superchat"]
    with dial(port, **options) as client:
        assert client.response is not None
        seen.append(client.subprotocol)
        seen.append(client.response.headers.get("Sec-WebSocket-Extensions"))
        for size in (0, 1, 125, 126, 65535, 65536, 3 << 20):
            client.send(b"%c" % (size % 251) * size)
            seen.append(client.recv(timeout=20))
        client.send("text é")
        seen.append(client.recv(timeout=20))
        client.send(part for part in (b"1", b"", b"2" * 100_000, b"3"))
        seen.append(client.recv(timeout=20))
        client.send("fragments")
        seen.append(list(client.recv_streaming()))
        seen.append(client.ping(b"x").wait(20))
        client.send("ping")
        seen.append(client.recv(timeout=20))
        client.send("close 4321")
        seen.append(closed(client))
    with dial(port, **options) as client:
        client.close(4000, "enough")
        seen.append((client.close_code, client.close_reason))
    return seen


@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_permitted_channel_is_as_a_direct_connection(
    tmp_path: Path, compression: str | None
) -> None:
    site = Site(handler=play)
    with channels(tmp_path, site, subprotocols=["superchat"]) as front:
        direct = transcript(site.port, compression=compression)
        eventually(lambda: len(site.closed) == 2, "the server saw both of them end")
        assert transcript(front.port, compression=compression) == direct
        assert direct[0] == "superchat"
        eventually(lambda: len(site.closed) == 4, "the server saw all of them end")
        assert sorted(site.closed[:2]) == sorted(site.closed[2:])
        is_over(front, "backend")
        is_over(front, "client")
        lines = front.logged(2)
        assert {(each["status"], each["end"], each["route"]) for each in lines} == {
            (101, "upgrade", "terminal")
        }


def test_a_reader_that_is_slow_holds_the_server_back(tmp_path: Path) -> None:
    sent: list[int] = []

    def pour(connection: ServerConnection) -> None:
        connection.recv()
        for number in range(64):
            connection.send(os.urandom(1 << 20))
            sent.append(number)

    site = Site(handler=pour)
    with channels(tmp_path, site, compression=None) as front:
        before = front.rss()
        with dial(front.port, compression=None, max_queue=1) as client:
            client.send("go")
            first = client.recv(timeout=20)
            last = 0

            def is_stuck() -> bool:
                nonlocal last
                before, last = last, len(sent)
                threading.Event().wait(0.3)
                return 0 < len(sent) == before == last

            eventually(is_stuck, "the server waits")
            assert len(sent) < 40
            assert front.rss() - before < 16 << 20
            rest = [client.recv(timeout=20) for _ in range(63)]
            assert {len(message) for message in (first, *rest)} == {1 << 20}


# -- permission --------------------------------------------------------------------------------


def test_the_backend_is_asked_with_the_clients_fields_and_its_refusal_is_passed_on(
    tmp_path: Path,
) -> None:
    site = Site(permission=b"who are you?", status=403)
    with channels(tmp_path, site) as front:
        answer = refused(
            front.port, path="/job/7/terminal.ws?x=1", additional_headers={"Cookie": "c"}
        )
        assert answer.response.status_code == 403
        assert answer.response.body == b"who are you?"
        (asked,) = site.asked
        assert asked.path == "/job/7/terminal.ws/authorize?x=1"
        assert asked.headers["Cookie"] == "c"
        assert asked.headers["Fastproxy-Authorize"].count(".") == 2
        assert "Upgrade" not in asked.headers
        assert site.opened == []
        is_over(front, "refused")


@pytest.mark.parametrize(
    ("permission", "detail"),
    [
        (b"{", "bad-authorize-answer"),
        ({"unknown": 1}, "bad-authorize-answer"),
        ({"url": "ws://elsewhere.example.com/"}, "allowed_hosts"),
        ({"url": "wss://127.0.0.1:1/"}, "allowed_hosts"),
        (b'{"url": "' + b"x" * (300 << 10) + b'"}', "bad-response"),
    ],
    ids=["broken", "unknown", "host", "port", "enormous"],
)
def test_a_permission_that_cannot_be_followed_is_the_backends_fault(
    tmp_path: Path, permission: Any, detail: str
) -> None:
    site = Site(permission=permission)
    with channels(tmp_path, site, 'allowed_hosts = ["127.0.0.1:2"]') as front:
        assert refused(front.port).response.status_code == 502
        eventually(lambda: detail in front.said(), "the log says whose fault")
        assert site.opened == []
        is_over(front, "failed")


def test_pages_of_other_sites_and_what_is_no_websocket_are_refused(tmp_path: Path) -> None:
    site = Site()
    with channels(tmp_path, site, 'allowed_origins = ["https://friend.example.com"]') as front:
        own, friend = f"http://127.0.0.1:{front.port}", "https://friend.example.com"
        for origin in (own, friend, None):
            with dial(front.port, origin=origin) as client:
                client.send("hello")
                assert client.recv(timeout=20) == "hello"
        asked = len(site.asked)
        for origin in ("https://evil.example.com", "null", "http://127.0.0.1"):
            assert refused(front.port, origin=origin).response.status_code == 403
        reply = front.get("/terminal.ws")
        assert reply.status == 426
        assert reply.header(b"upgrade") == b"websocket"
        assert b"upgrade" in reply.all(b"connection")
        assert len(site.asked) == asked


def test_only_subprotocols_that_are_permitted_are_offered(tmp_path: Path) -> None:
    site = Site(permission={"subprotocols": ["b", "c"]})
    with channels(tmp_path, site, subprotocols=["c", "b", "a"]) as front:
        with dial(front.port, subprotocols=["a", "b"]) as client:
            assert client.subprotocol == "b"
        assert site.opened[0].headers["Sec-WebSocket-Protocol"] == "b"
        assert refused(front.port, subprotocols=["a"]).response.status_code == 400


# -- elsewhere ---------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Site, str]]:
    """A place with TLS that the backend may name, and the certificate of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    site = Site()
    with running(site, context, subprotocols=["terminal.gitlab.com"]):
        yield site, authority.cert_pem.bytes().decode()


def test_a_channel_leads_where_the_permission_says_and_tells_no_secrets_there(
    tmp_path: Path, shell: tuple[Site, str]
) -> None:
    place, pem = shell
    site = Site()
    allowed = f'allowed_hosts = ["127.0.0.1:{place.port}"]'
    with channels(tmp_path, site, allowed) as front:
        site.permission = {
            "url": f"wss://127.0.0.1:{place.port}/session/9/exec?a=b",
            "headers": {"Authorization": "for the runner"},
            "subprotocols": ["terminal.gitlab.com"],
            "ca_pem": pem,
        }
        headers = {"Cookie": "session=1", "Authorization": "mine", "X-Mine": "1"}
        with dial(
            front.port, additional_headers=headers, subprotocols=["terminal.gitlab.com"]
        ) as client:
            client.send("ls")
            assert client.recv(timeout=20) == "ls"
            assert client.subprotocol == "terminal.gitlab.com"
        assert site.opened == []
        (opened,) = place.opened
        assert opened.path == "/session/9/exec?a=b"
        said = opened.headers
        assert said["Host"] == f"127.0.0.1:{place.port}"
        assert said["Authorization"] == "for the runner"
        assert said["X-Forwarded-For"] == "127.0.0.1"
        assert not {"Cookie", "X-Mine", "Origin", "Fastproxy-Authorize"} & set(said)
        site.permission["ca_pem"] = trustme.CA().cert_pem.bytes().decode()
        assert refused(front.port, subprotocols=["terminal.gitlab.com"]).response.status_code == 502
        eventually(lambda: "bad-certificate" in front.said(), "the log says why")
        assert "backend-closed" not in front.said(), "the first one ended well"


def test_what_a_place_says_instead_of_a_websocket_is_not_the_clients(tmp_path: Path) -> None:
    inner = Site(permission=b"internal secrets", status=403)
    site = Site()
    with running(inner), channels(tmp_path, site, 'allowed_hosts = ["127.0.0.1"]') as front:
        site.permission = {"url": f"ws://127.0.0.1:{inner.port}/x/authorize"}
        answer = refused(front.port).response
        assert (answer.status_code, answer.body) == (502, b"502 backend: bad-response\n")
        assert inner.asked, "it was reached"


def test_gitlabs_words(tmp_path: Path, shell: tuple[Site, str]) -> None:
    place, pem = shell
    site = Site(kind="application/vnd.gitlab-workhorse+json")
    allowed = f'allowed_hosts = ["127.0.0.1:{place.port}"]'
    with running(site):
        site.permission = {
            "Channel": {
                "Subprotocols": ["terminal.gitlab.com"],
                "Url": f"wss://127.0.0.1:{place.port}/session",
                "Header": {"Authorization": ["t"]},
                "CAPem": pem,
                "MaxSessionTime": 3600,
            }
        }
        text = configuration(site, tmp_path / "secret", allowed, 'dialect = "gitlab"')
        with (
            proxy(text) as front,
            dial(front.port, subprotocols=["terminal.gitlab.com"]) as client,
        ):
            client.send("ls")
            assert client.recv(timeout=20) == "ls"
        assert "Gitlab-Workhorse-Api-Request" in site.asked[0].headers
        assert place.opened[0].headers["Authorization"] == "t"


# -- the end -----------------------------------------------------------------------------------


def revoke(site: Site) -> None:
    site.status = 403


def change(site: Site) -> None:
    site.permission = {"headers": {"X-Other": "1"}}


def fail(site: Site) -> None:
    site.permission = b"{"


@pytest.mark.parametrize(
    ("happens", "code", "end"),
    [
        (revoke, 1008, "revoked"),
        (change, 1008, "revoked"),
        (fail, 1013, "unconfirmed"),
    ],
)
def test_what_is_not_permitted_any_more_is_closed_properly_on_both_sides(
    tmp_path: Path, happens: Callable[[Site], None], code: int, end: str
) -> None:
    site = Site()
    with channels(tmp_path, site, 'reauthorize = "300ms"') as front:
        with dial(front.port) as client:
            eventually(lambda: len(site.asked) >= 3, "asked again")
            client.send("still there")
            assert client.recv(timeout=20) == "still there"
            happens(site)
            assert closed(client)[0] == code
            eventually(lambda: site.closed, "the backend knows")
            assert site.closed[0][0] == code
        is_over(front, end)
        eventually(lambda: "channel closed" in front.said(), "the log says why")


def test_a_frame_that_is_on_its_way_is_finished_before_the_close(tmp_path: Path) -> None:
    half, go = threading.Event(), threading.Event()

    def in_two_halves(connection: ServerConnection) -> None:
        connection.recv()
        frame = b"\x82\x7e\x10\x00" + b"z" * 4096  # binary, 4096 bytes
        connection.socket.sendall(frame[:2000])
        half.set()
        assert go.wait(20)
        connection.socket.sendall(frame[2000:] + b"\x81\x04lost")
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)

    site = Site(handler=in_two_halves)
    with channels(tmp_path, site, 'reauthorize = "300ms"', compression=None) as front:
        with dial(front.port, compression=None) as client:
            client.send("begin")
            assert half.wait(20)
            site.status = 403
            eventually(lambda: "channel closed" in front.said(), "it is to close")
            go.set()
            assert client.recv(timeout=20) == b"z" * 4096
            assert closed(client)[0] == 1008
            eventually(lambda: site.closed, "the backend knows")
        is_over(front, "revoked")


@pytest.mark.parametrize("by", ["route", "permission"])
def test_a_session_ends_when_its_time_is_over_however_busy_it_is(tmp_path: Path, by: str) -> None:
    site = Site(permission={"max_session": 1.0} if by == "permission" else {})
    route = 'max_session = "1s"' if by == "route" else ""
    with channels(tmp_path, site, route) as front, dial(front.port) as client:
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.send("busy")
                assert client.recv(timeout=20) == "busy"
        assert closed(client) == (1000, "the session's time is over")
        client.close()
        is_over(front, "session")


def test_who_is_silent_is_idle_although_pings_are_answered(tmp_path: Path) -> None:
    site = Site()
    with channels(tmp_path, site, 'idle_timeout = "1500ms"\nping = "300ms"') as front:
        with dial(front.port) as client:
            client.ping(b"mine")
            assert closed(client) == (1000, "idle for too long")
        is_over(front, "idle")
        assert front.logged(1)[0]["bytes_in"] > 10, "a pong, beside its own ping"


def test_a_drain_tells_that_the_server_is_being_replaced(tmp_path: Path) -> None:
    site = Site()
    with channels(tmp_path, site, server='drain = "2s"') as front, dial(front.port) as client:
        client.send("x")
        assert client.recv(timeout=20) == "x"
        os.kill(front.process.pid, signal.SIGTERM)
        assert closed(client) == (1012, "this server is being replaced")
        assert front.process.wait(20) == 0
        assert site.closed[0][0] == 1012


def test_a_channel_that_opens_during_a_drain_is_told_so_too(tmp_path: Path) -> None:
    site, ends = SlowSite(), []

    def come(port: int) -> None:
        with dial(port) as client:
            ends.append(closed(client))

    with channels(tmp_path, site, server='drain = "4s"') as front:
        thread = threading.Thread(target=come, args=(front.port,))
        thread.start()
        assert site.reached.wait(20)
        os.kill(front.process.pid, signal.SIGTERM)
        eventually(lambda: '"draining"' in front.said(), "it drains")
        site.released.set()
        thread.join(20)
        assert ends == [(1012, "this server is being replaced")]
        assert front.process.wait(20) == 0


@pytest.mark.parametrize("way", ["ping", "close"])
def test_behind_a_close_frame_nothing_of_ours_comes(tmp_path: Path, way: str) -> None:
    def leave(connection: ServerConnection) -> None:
        connection.recv()
        connection.socket.sendall(b"\x88\x02\x03\xe8")
        threading.Event().wait(3)

    lines = {"ping": 'ping = "300ms"', "close": 'max_session = "1s"'}[way]
    site = Site(handler=leave)
    with channels(tmp_path, site, lines, compression=None) as front, front.client() as client:
        client.send(
            b"GET /t HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert client.head().status == 101
        client.send(b"\x81\x81\0\0\0\0x")
        frames = client.until_eof()
        assert frames.replace(b"\x88\x02\x03\xe8", b"") == b"", "only the server's own"


def test_a_client_that_vanishes_is_gone_at_the_backend_too(tmp_path: Path) -> None:
    site = Site()
    with channels(tmp_path, site) as front:
        with dial(front.port) as client:
            eventually(lambda: front.metric("fastproxy_channels_open") == 1, "open")
            sock = client.socket
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RD)  # wakes the library's thread that reads
            sock.close()
            eventually(lambda: site.closed, "the backend knows")
        is_over(front, "client")


def test_a_client_that_leaves_while_the_backend_is_asked_costs_nothing(tmp_path: Path) -> None:
    site = SlowSite()
    with channels(tmp_path, site) as front, front.client() as client:
        client.send(
            b"GET /t HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert site.reached.wait(20)
        client.sock.close()
        is_over(front, "client")
        site.released.set()
    assert site.opened == []
