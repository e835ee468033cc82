"""A backend says what is to be sent, and a whole fastproxy sends it in its place."""

import base64
import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.handlers.static.byteranges import parts_of
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Origin, Peer, Script, origin, response
from tests.support.waiting import eventually

HELLO = b"hello, world"


def order(kind: str, **what: object) -> bytes:
    text = base64.urlsafe_b64encode(json.dumps(what).encode()).decode()
    return f"Fastproxy-Send: {kind}:{text}\r\n".encode()


def answering(fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> Script:
    """A backend that always answers the same."""

    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            is_head = request.method == b"HEAD"
            peer.send(response(b"" if is_head else body, status=status, fields=fields))

    return script


@dataclass
class Files:
    root: Path
    backend: Origin
    proxy: Proxy
    fields: bytes = b""
    body: bytes = b""
    status: bytes = b"200 OK"

    def orders(self, fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> None:
        self.fields, self.body, self.status = fields, body, status

    def script(self, peer: Peer) -> None:
        answering(self.fields, self.body, self.status)(peer)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    home = tmp_path_factory.mktemp("takeover")
    root = home / "root"
    (root / "deep").mkdir(parents=True)
    (root / "hello.txt").write_bytes(HELLO)
    (root / "deep" / "a b%.bin").write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    (root / "empty").write_bytes(b"")
    (home / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(home / "secret")
    (root / "up").symlink_to(home)
    os.mkfifo(root / "fifo")
    world = Files(root, None, None)  # type: ignore[arg-type] # both follow

    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            is_head = request.method == b"HEAD"
            body = b"" if is_head else world.body
            peer.send(response(body, status=world.status, fields=world.fields))

    send = f'send = {{ files = ["{root}"], locations = {{ "/protected/" = "{root}/deep" }} }}'
    with origin(script) as backend, proxy(to_backend(backend.address, send)) as running:
        world.backend, world.proxy = backend, running
        yield world


def sendfile(path: object) -> bytes:
    return f"X-Sendfile: {path}\r\n".encode()


def test_a_file_is_sent_in_place_of_the_answer(files: Files) -> None:
    fields = b"Cache-Control: private\r\nSet-Cookie: a=b\r\nContent-Disposition: inline\r\n"
    of_body = b'ETag: "of-nothing"\r\nContent-Encoding: gzip\r\nAccept-Ranges: none\r\n'
    files.orders(sendfile(files.root / "hello.txt") + fields + of_body, b"dropped")
    reply = files.proxy.get()
    assert (reply.status, reply.body) == (200, HELLO)
    assert reply.header(b"cache-control") == b"private"
    assert reply.header(b"set-cookie") == b"a=b"
    assert reply.header(b"content-disposition") == b"inline"
    assert reply.header(b"content-type") == b"text/plain; charset=utf-8"
    assert reply.header(b"x-accel-buffering") == b"no"
    assert reply.all(b"etag") != [b'"of-nothing"']
    assert reply.all(b"accept-ranges") == [b"bytes"]
    assert not reply.all(b"content-encoding")
    assert not reply.all(b"x-sendfile")


def test_the_backends_content_type_is_kept(files: Files) -> None:
    files.orders(sendfile(files.root / "hello.txt") + b"Content-Type: text/x-own\r\n")
    assert files.proxy.get().all(b"content-type") == [b"text/x-own"]


def test_the_native_field_orders_the_same(files: Files) -> None:
    files.orders(order("file", path=f"{files.root}//deep/./../../root/hello.txt"))
    assert files.proxy.get().status == 502
    files.orders(order("file", path=f"{files.root}//./hello.txt"))
    assert files.proxy.get().body == HELLO


def test_a_location_stands_for_its_directory(files: Files) -> None:
    files.orders(b"X-Accel-Redirect: /protected/a%20b%25.bin?x=y\r\n")
    reply = files.proxy.get()
    assert reply.status == 200
    assert reply.body == bytes(range(256)) * 8192
    assert reply.header(b"content-type") == b"application/octet-stream"


@pytest.mark.parametrize(
    ("fields", "status", "body", "content_range"),
    [
        ("Range: bytes=7-", 206, HELLO[7:], b"bytes 7-11/12"),
        ("Range: bytes=-5", 206, HELLO[-5:], b"bytes 7-11/12"),
        ("Range: bytes=0-0", 206, HELLO[:1], b"bytes 0-0/12"),
        ("Range: bytes=0-1,1-5", 200, HELLO, None),
        ("Range: bytes=12-", 416, b"", b"bytes */12"),
        ('Range: bytes=7-\r\nIf-Range: "other"', 200, HELLO, None),
        ('If-Match: "other"', 412, b"", None),
        ("If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT", 304, b"", None),
    ],
)
def test_ranges_and_conditions(
    files: Files, fields: str, status: int, body: bytes, content_range: bytes | None
) -> None:
    files.orders(sendfile(files.root / "hello.txt"))
    reply = files.proxy.get(fields=fields + "\r\n")
    assert (reply.status, reply.body) == (status, body)
    assert reply.header(b"content-range") == content_range
    tag = files.proxy.get().header(b"etag") or b""
    assert files.proxy.get(fields=f"If-None-Match: {tag.decode()}\r\n").status == 304


def test_head_gets_the_head_alone(files: Files) -> None:
    files.orders(sendfile(files.root / "hello.txt"))
    with files.proxy.client() as client:
        for _ in range(2):
            reply = client.get(method="HEAD")
            assert (reply.status, reply.header(b"content-length")) == (200, b"12")
        assert client.get().body == HELLO


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("{root}/none", 404),
        ("{root}/deep", 404),
        ("{root}", 502),
        ("{root}/", 404),
        ("{root}/link", 404),
        ("{root}/up/secret", 404),
        ("{root}/fifo", 404),
        ("{root}/../secret", 502),
        ("{root}/deep/../../secret", 502),
        ("{root}-other/hello.txt", 502),
        ("/etc/passwd", 502),
        ("hello.txt", 502),
    ],
)
def test_nothing_but_regular_files_beneath_the_directory_is_sent(
    files: Files, path: str, status: int
) -> None:
    files.orders(sendfile(path.format(root=files.root)), b"the backend's own body")
    reply = files.proxy.get()
    assert reply.status == status
    assert b"backend:" in reply.body
    assert str(files.root).encode() not in reply.raw_head + reply.body


def test_a_location_cannot_be_left_by_an_escape(files: Files) -> None:
    for path in (b"/protected/%2e%2e/hello.txt", b"/protected/..%2fhello.txt", b"/other/x"):
        files.orders(b"X-Accel-Redirect: " + path + b"\r\n")
        assert files.proxy.get().status == 502


def test_orders_of_other_answers_than_200_are_only_taken_off(files: Files) -> None:
    files.orders(sendfile(files.root / "hello.txt"), b"no such thing", b"404 Not Found")
    reply = files.proxy.get()
    assert (reply.status, reply.body) == (404, b"no such thing")
    assert not reply.all(b"x-sendfile")


def test_an_order_nobody_can_follow_is_the_backends_fault(files: Files) -> None:
    for fields in (
        order("unknown"),
        order("file"),
        b"Fastproxy-Send: nonsense\r\n",
        sendfile("/a") + sendfile("/b"),
    ):
        files.orders(fields, b"the backend's own body")
        reply = files.proxy.get()
        assert (reply.status, reply.body) == (502, b"502 backend: bad-order\n")


def test_an_unwanted_body_keeps_the_backends_connection_unless_it_is_long(files: Files) -> None:
    with files.proxy.client() as client:
        files.orders(sendfile(files.root / "hello.txt"), b"x" * 60_000)
        assert client.get().body == HELLO
        before = files.backend.connections
        for _ in range(3):
            assert client.get().body == HELLO
        assert files.backend.connections == before
        files.orders(sendfile(files.root / "hello.txt"), b"x" * 600_000)
        for _ in range(3):
            assert client.get().body == HELLO
        assert files.backend.connections > before


@pytest.mark.parametrize("name", ["X-Sendfile", "x_sendfile", "X-SENDFILE"])
def test_every_spelling_is_an_order(files: Files, name: str) -> None:
    files.orders(f"{name}: {files.root}/hello.txt\r\n".encode())
    assert files.proxy.get().body == HELLO


def test_a_client_cannot_say_how_a_backend_names_files(files: Files) -> None:
    files.orders(b"")
    before = len(files.backend.requests)
    files.proxy.get(fields="X-Sendfile-Type: X-Accel-Redirect\r\nX-Accel-Mapping: /=/x\r\n")
    request = files.backend.requests[before]
    assert request.all(b"x-sendfile-type") == [b"X-Sendfile"]
    assert b"accel" not in request.raw_head.lower()


CONTROLS = (
    b"X-Sendfile: /etc/passwd\r\nX_Sendfile: /a\r\nx-accel_redirect: /a\r\n"
    b"Fastproxy-Send: file:e30\r\nfastproxy_send: x\r\nX-LIGHTTPD-Send-File: /a\r\n"
    b"Gitlab-Workhorse-Send-Data: a:e30\r\nGITLAB_WORKHORSE: 1\r\n"
    b"Gitlab-Workhorse-Detect-Content-Type: true\r\n"
)


@pytest.mark.parametrize("host", ["Host: test", "Host:  test"], ids=["express", "general"])
def test_a_backend_that_is_not_configured_for_it_sends_nothing(host: str) -> None:
    with (
        origin(answering(CONTROLS + b"X-Own: 1\r\n", b"body")) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(3):
            client.send(f"GET / HTTP/1.1\r\n{host}\r\n\r\n".encode())
            reply = client.reply()
            assert (reply.status, reply.body) == (200, b"body")
            names = [line.split(b":")[0].lower() for line in reply.raw_head.split(b"\r\n")[1:]]
            assert sorted(names) == [b"content-length", b"date", b"x-own"]


def test_a_client_that_leaves_leaves_nothing_behind(files: Files, tmp_path: Path) -> None:
    with (files.root / "large").open("wb") as large:
        large.truncate(1 << 30)
    files.orders(sendfile(files.root / "large"))
    descriptors = files.proxy.descriptors()
    for leave in ("reset", "close"):
        with files.proxy.client(rcvbuf=65536) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.take(100_000)
            if leave == "reset":
                client.reset()
    eventually(lambda: files.proxy.descriptors() <= descriptors, "descriptors are closed")
    eventually(
        lambda: files.proxy.metric("fastproxy_requests_in_flight") == 0, "nothing is being sent"
    )


def test_what_leaves_by_sendfile_counts_as_taken_by_the_reader(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(12 << 20)
    rate = 'min_send_rate = "50KiB"\nrate_grace = "1s"'
    with (
        origin(answering(sendfile(tmp_path / "large"))) as backend,
        proxy(to_backend(backend.address, f'send = {{ files = ["{tmp_path}"] }}', rate)) as running,
        running.client(rcvbuf=65536) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        pause, size = threading.Event(), 0
        while size < 12 << 20:  # some 3 MB a second, for several windows of the rate
            piece = client.sock.recv(64 << 10)
            assert piece
            size += len(piece)
            pause.wait(0.02)


def test_several_ranges_are_parts_of_the_type_that_the_whole_has(files: Files) -> None:
    data = (files.root / "deep" / "a b%.bin").read_bytes()
    large = b"X-Accel-Redirect: /protected/a%20b%25.bin\r\n"
    detect = b"Fastproxy-Detect-Content-Type: true\r\nContent-Disposition: inline; filename=a\r\n"
    for more, type_ in (
        (b"", "application/octet-stream"),
        (b"Content-Type: text/x-own\r\n", "text/x-own"),
        (b"Content-Type: text/html\r\n" + detect, "application/octet-stream"),
    ):
        files.orders(large + more)
        for first, last in ((3, 9), (100_000, 2_000_000)):  # read at once, and sent as it is taken
            reply = files.proxy.get(fields=f"Range: bytes={first}-{last},0-0\r\n")
            assert reply.status == 206
            assert reply.header(b"content-length") == b"%d" % len(reply.body)
            [told] = reply.all(b"content-type")
            parts = parts_of(told.decode(), reply.body)
            assert [said["content-type"] for said, _ in parts] == [type_, type_]
            assert [part for _, part in parts] == [data[first : last + 1], data[:1]]
    assert reply.all(b"content-disposition") == [b"attachment; filename=a"]


def test_the_type_is_that_of_the_bytes_if_the_backend_wants_it(files: Files) -> None:
    (files.root / "evil.png").write_bytes(b"<script>alert(1)</script>" * 1000)
    (files.root / "evil.txt").write_bytes(b"<svg onload=alert(1)>")
    detect = b"Fastproxy-Detect-Content-Type: true\r\nContent-Disposition: inline; filename=a\r\n"
    files.orders(sendfile(files.root / "evil.png") + detect)
    for fields in ("", "Range: bytes=5-9\r\n"):
        reply = files.proxy.get(fields=fields)
        assert reply.all(b"content-type") == [b"text/plain; charset=utf-8"]
        assert reply.all(b"content-disposition") == [b"inline; filename=a"]
        assert reply.all(b"fastproxy-detect-content-type") == []
    files.orders(sendfile(files.root / "evil.txt") + detect)
    reply = files.proxy.get()
    assert reply.all(b"content-type") == [b"image/svg+xml"]
    assert reply.all(b"content-disposition") == [b"attachment; filename=a"]
    for size in (1, 100, 100_000):
        files.orders(b"Content-Type: text/html\r\n" + detect, b"<b>" * size)
        reply = files.proxy.get()
        assert (reply.status, reply.body) == (200, b"<b>" * size)
        assert reply.all(b"content-type") == [b"text/plain; charset=utf-8"]


@pytest.mark.parametrize("host", ["Host: test", "Host:  test"], ids=["express", "general"])
def test_a_backend_is_told_that_files_are_sent(files: Files, host: str) -> None:
    files.orders(b"")
    with files.proxy.client() as client:
        for fields in ("", "Cookie: a=b\r\n"):
            client.send(f"GET /hint HTTP/1.1\r\n{host}\r\n{fields}\r\n".encode())
            client.reply()
            request = [r for r in files.backend.requests if r.target == b"/hint"][-1]
            assert request.all(b"x-sendfile-type") == [b"X-Sendfile"]


def test_curl_resumes_a_file_and_takes_ranges_of_it(files: Files, tmp_path: Path) -> None:
    data = (files.root / "deep" / "a b%.bin").read_bytes()
    files.orders(b"X-Accel-Redirect: /protected/a%20b%25.bin\r\n")
    url, partial = f"http://127.0.0.1:{files.proxy.port}/x", tmp_path / "partial"
    partial.write_bytes(data[:1_000_000])
    subprocess.run(["curl", "-sfC", "-", "-o", partial, url], check=True, timeout=30)
    assert partial.read_bytes() == data
    part = subprocess.run(
        ["curl", "-sf", "-r", "100-199", url], check=True, timeout=30, capture_output=True
    )
    assert part.stdout == data[100:200]


def test_slow_readers_of_a_large_file_take_no_memory(files: Files) -> None:
    large = files.root / "gib"
    with large.open("wb") as file:
        file.truncate(1 << 30)
        file.seek((1 << 30) - 4)
        file.write(b"last")
    files.orders(sendfile(large))
    before = files.proxy.rss()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(files.proxy.client(rcvbuf=16384)) for _ in range(50)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        for client in clients:
            assert client.head().header(b"content-length") == b"%d" % (1 << 30)
            client.take(300_000)
        assert files.proxy.rss() - before < 10 << 20
        reply = files.proxy.get(fields="Range: bytes=-4\r\n")
        assert reply.body == b"last"  # and nobody waits for them


def test_a_file_that_becomes_shorter_cuts_the_answer(files: Files) -> None:
    shrinking = files.root / "shrinking"
    shrinking.write_bytes(b"x" * (64 << 20))
    files.orders(sendfile(shrinking))
    with files.proxy.client(rcvbuf=16384) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        client.head()
        client.take(1000)
        os.truncate(shrinking, 1000)
        with pytest.raises(ConnectionResetError):
            client.until_eof()
    assert files.proxy.get(fields="Range: bytes=0-9\r\n").body == b"x" * 10


def test_under_tls_files_are_read_and_written(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "pem"))
    os.chmod(tmp_path / "pem", 0o600)
    with origin(answering(sendfile(tmp_path / "file"))) as backend:
        text = (
            to_backend(backend.address, f'send = {{ files = ["{tmp_path}"] }}')
            + f"""
[[listener]]
address = "127.0.0.1:PORT"
[[listener.certificate]]
cert_file = "{tmp_path}/pem"
"""
        )
        with proxy(text) as running:
            url = f"https://localhost:{running.port}/"
            got = subprocess.run(["curl", "-skf", url], check=True, capture_output=True, timeout=30)
            assert got.stdout == data


def test_orders_are_counted_by_kind_and_by_whose_fault_it_was(files: Files) -> None:
    def count(kind: str, result: str) -> float:
        return files.proxy.metric(f'fastproxy_orders_total{{kind="{kind}",result="{result}"}}')

    before = count("file", "ok"), count("file", "backend"), count("other", "backend")
    files.orders(sendfile(files.root / "hello.txt"))
    files.proxy.get()
    files.orders(sendfile(files.root / "none"))
    files.proxy.get()
    files.orders(b"Fastproxy-Send: nonsense\r\n")
    files.proxy.get()
    after = count("file", "ok"), count("file", "backend"), count("other", "backend")
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 1, 1]


def test_gitlabs_field_orders_in_its_dialect_and_ours_does_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(HELLO)
    said = {
        b"/theirs": order("file", path=f"{tmp_path}/a").replace(
            b"Fastproxy-Send", b"Gitlab-Workhorse-Send-Data"
        ),
        b"/ours": order("file", path=f"{tmp_path}/a"),
        b"/sendfile": sendfile(tmp_path / "a")
        + b"Gitlab-Workhorse-Detect-Content-Type: true\r\nContent-Type: text/html\r\n",
    }

    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            peer.send(response(b"own", fields=said[request.target]))

    with origin(script) as backend:
        lines = f'dialect = "gitlab"\nsend = {{ files = ["{tmp_path}"] }}'
        with proxy(to_backend(backend.address, lines)) as running:
            assert running.get("/theirs").body == HELLO
            assert running.get("/ours").body == b"own"
            reply = running.get("/sendfile")
            assert reply.body == HELLO
            assert reply.all(b"content-type") == [b"text/plain; charset=utf-8"]
            assert b"gitlab" not in reply.raw_head.lower()


@pytest.mark.parametrize("buffer", ["none", "request", "response", "both"])
def test_an_order_is_followed_behind_every_buffer(tmp_path: Path, buffer: str) -> None:
    (tmp_path / "a").write_bytes(HELLO * 100_000)
    with origin(answering(sendfile(tmp_path / "a"), b"dropped")) as backend:
        text = f"""
[backend.default]
address = "{backend.address}"
send = {{ files = ["{tmp_path}"] }}
[[route]]
action = "proxy"
buffer = "{buffer}"
"""
        with proxy(text) as running, running.client() as client:
            for _ in range(3):
                assert client.get().body == HELLO * 100_000
                client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde")
                assert client.reply().body == HELLO * 100_000


def test_an_order_that_comes_before_the_request_is_whole_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(HELLO)

    def early(peer: Peer) -> None:
        if peer.head() is not None:
            peer.send(response(b"own", fields=sendfile(tmp_path / "a")))
            peer.until_eof()

    with origin(early) as backend:
        send = f'send = {{ files = ["{tmp_path}"] }}'
        with proxy(to_backend(backend.address, send)) as running:
            with running.client() as client:
                client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n")
                client.send(b"x" * 100_000)
                reply = client.reply()
                assert (reply.status, reply.body) == (200, HELLO)
                assert reply.header(b"connection") == b"close"
            eventually(lambda: running.connections() == 0, "the client is forgotten")
            assert running.metric("fastproxy_requests_in_flight") == 0
