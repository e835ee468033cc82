"""URLs and objects that a backend orders, sent by a whole fastproxy."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flow.test_takeover import order
from tests.servers.seaweed import Seaweed
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Origin, Peer, chunked, origin, response
from tests.support.waiting import eventually

DATA = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class World:
    backend: Origin
    host: Origin
    proxy: Proxy
    fields: bytes = b""

    @property
    def at(self) -> str:
        """HOST:PORT of the host that is configured."""
        return self.host.address.removeprefix("http://")

    def url(self, path: str = "/", **more: object) -> None:
        self.fields = order("url", url=f"http://{self.at}{path}", **more)


def far(peer: Peer) -> None:
    """A host with files, ranges and bad habits."""
    while (request := peer.request()) is not None:
        path, ranged = request.target.split(b"?")[0], request.header(b"range")
        common = b'ETag: "v1"\r\nContent-Type: image/x-far\r\nSet-Cookie: far=1\r\n'
        if path == b"/cut":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            return
        if path == b"/silent":
            peer.until_eof()
            return
        if path == b"/moved":
            peer.send(response(status=b"302 Found", fields=b"Location: /data\r\n"))
        elif path == b"/moved-away":
            away = b"Location: http://169.254.169.254/latest\r\n"
            peer.send(response(status=b"302 Found", fields=away))
        elif path == b"/circle":
            peer.send(response(status=b"302 Found", fields=b"Location: /circle\r\n"))
        elif path == b"/chunked":
            peer.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a", b"b")
            )
        elif path == b"/none":
            peer.send(response(b"far: none", status=b"404 Not Found"))
        elif ranged:
            first = int(ranged.split(b"=")[1].split(b"-")[0])
            total = b"Content-Range: bytes %d-%d/%d\r\n" % (first, len(DATA) - 1, len(DATA))
            peer.send(response(DATA[first:], status=b"206 Partial Content", fields=common + total))
        elif request.method == b"HEAD":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA))
        else:
            peer.send(response(DATA, fields=common + b"Cache-Control: public\r\nServer: far\r\n"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(None, None, None)  # type: ignore[arg-type] # all follow

    def near(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=made.fields + b"Cache-Control: private\r\n"))

    with origin(near) as backend, origin(far) as host:
        at = host.address.removeprefix("http://")
        send = f'send = {{ hosts = ["{at}", "localhost"], timeout = "500ms" }}'
        allowed = send.replace("hosts", 'networks = ["127.0.0.0/8"], hosts')
        with proxy(to_backend(backend.address, allowed)) as running:
            made.backend, made.host, made.proxy = backend, host, running
            yield made


def test_a_url_is_streamed_with_its_type_and_none_of_its_cookies(world: World) -> None:
    world.url("/data?secret=presigned")
    reply = world.proxy.get(fields="Cookie: own=1\r\nAuthorization: x\r\nAccept: a/b\r\n")
    assert (reply.status, reply.body) == (200, DATA)
    assert reply.header(b"content-type") == b"image/x-far"
    assert reply.header(b"etag") == b'"v1"'
    assert reply.all(b"cache-control") == [b"private"]
    assert not reply.all(b"set-cookie")
    asked = world.host.requests[-1]
    assert [line.split(b":")[0] for line in asked.raw_head.split(b"\r\n")[1:]] == [b"Host"]


def test_ranges_and_head_are_the_hosts_to_answer(world: World) -> None:
    world.url("/data")
    reply = world.proxy.get(fields='Range: bytes=1000-\r\nIf-Range: "v1"\r\n')
    assert (reply.status, reply.body) == (206, DATA[1000:])
    assert reply.header(b"content-range") == b"bytes 1000-%d/%d" % (len(DATA) - 1, len(DATA))
    assert world.host.requests[-1].header(b"if-range") == b'"v1"'
    head = world.proxy.get(method="HEAD")
    assert head.header(b"content-length") == b"%d" % len(DATA)


def test_an_answer_without_a_length_and_an_error_are_passed_on(world: World) -> None:
    world.url("/chunked")
    assert world.proxy.get().body == b"ab"
    world.url("/none")
    reply = world.proxy.get()
    assert (reply.status, reply.body) == (404, b"far: none")


def test_redirects_are_followed_only_if_the_order_says_so(world: World) -> None:
    world.url("/moved")
    reply = world.proxy.get()
    assert (reply.status, reply.header(b"location")) == (302, b"/data")
    world.url("/moved", redirects=True)
    assert world.proxy.get().body == DATA
    for path in ("/moved-away", "/circle"):
        world.url(path, redirects=True)
        assert world.proxy.get().status == 502


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:{other}/",
        "http://localhost:{port}/",
        "http://localhost@127.0.0.1:{port}/",
        "http://user:pass@127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "unix:/run/secret.sock",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/a b",
        "http://127.0.0.1:{port}/\r\nX: y",
        "//127.0.0.1:{port}/",
        "",
        "http://[::1",
        "http://127.0.0.1:99999/",
    ],
)
def test_no_host_but_a_configured_one_is_asked(world: World, url: str) -> None:
    port = world.at.rpartition(":")[2]
    before = world.host.connections
    world.fields = order("url", url=url.format(port=port, other=world.backend.address[-5:]))
    reply = world.proxy.get()
    assert (reply.status, reply.body) == (502, b"502 backend: bad-order\n")
    assert world.host.connections == before


def test_an_order_sets_headers_both_ways_but_none_of_the_framing(world: World) -> None:
    world.url(
        "/data", headers={"X-Token": "t"}, response_headers={"Content-Type": "a/b", "X-R": "1"}
    )
    reply = world.proxy.get()
    assert world.host.requests[-1].header(b"x-token") == b"t"
    assert reply.all(b"content-type") == [b"a/b"]
    assert reply.header(b"x-r") == b"1"
    for headers in ({"Host": "x"}, {"Content-Length": "5"}, {"A": "b\r\nC: d"}, {"A b": "c"}):
        world.url("/data", headers=headers)
        assert world.proxy.get().status == 502
        world.url("/data", response_headers={**headers, "X": "y\r\nZ: w"})
        assert world.proxy.get().status == 502


def test_workhorses_own_order_is_understood(world: World) -> None:
    url = f"http://{world.at}"
    world.fields = order("send-url", URL=f"{url}/moved", AllowRedirects=True, Unknown=1)
    assert world.proxy.get().body == DATA
    world.fields = order("send-url", URL=f"{url}/data", Header={"X-A": ["1", "2"]})
    assert world.proxy.get().status == 200
    assert world.host.requests[-1].all(b"x-a") == [b"1", b"2"]
    slow = {"ResponseHeaderTimeout": "50ms", "TimeoutResponseStatus": 503}
    world.fields = order("send-url", URL=f"{url}/silent", ErrorResponseStatus=500, **slow)
    assert world.proxy.get().status == 503
    for bad in ({"Method": "DELETE"}, {"ErrorResponseStatus": 200}, {"ResponseHeaderTimeout": "x"}):
        world.fields = order("send-url", URL=f"{url}/data", **bad)
        assert world.proxy.get().status == 502


def test_a_host_that_is_silent_or_breaks_off_is_told(world: World) -> None:
    world.url("/silent")
    assert world.proxy.get().status == 504
    world.url("/cut")
    with world.proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.reply()


def test_no_query_of_a_url_is_ever_logged(world: World) -> None:
    for path in ("/data?sig=VERYSECRET", "/silent?sig=VERYSECRET", "/cut?sig=VERYSECRET"):
        world.url(path)
        with world.proxy.client() as client, suppress(ConnectionResetError):
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            client.reply()
    world.fields = order("url", url="http://elsewhere/?sig=VERYSECRET")
    assert world.proxy.get().status == 502
    logged = json.dumps(world.proxy.logged()) + world.proxy.said()
    assert "VERYSECRET" not in logged


def test_a_client_that_leaves_ends_the_hosts_answer(world: World) -> None:
    world.url("/data")
    descriptors = world.proxy.descriptors()
    for _ in range(3):
        with world.proxy.client(rcvbuf=4096) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            client.take(1000)
            client.reset()
    eventually(lambda: world.proxy.descriptors() <= descriptors + 2, "descriptors are closed")


def test_objects_of_a_directory_and_of_a_bucket(seaweed: Seaweed, tmp_path: Path) -> None:
    folder, key = tmp_path / "objects", "a/deep key.txt"
    (folder / "a").mkdir(parents=True)
    (folder / key).write_bytes(DATA)
    (folder / "link").symlink_to("/etc/passwd")
    for name, text in (("access", seaweed.access_key), ("secret", seaweed.secret_key)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    witness = seaweed.client()
    witness.create_bucket(Bucket="takeover")
    witness.put_object(Bucket="takeover", Key=f"pre/{key}", Body=DATA, ContentType="text/far")
    fields = b""

    def near(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=fields))

    with origin(near) as backend:
        text = (
            to_backend(backend.address, 'send = { stores = ["local", "s3"] }')
            + f"""
[store.local]
type = "local"
path = "{folder}"
[store.s3]
type = "s3"
bucket = "takeover"
endpoint = "{seaweed.endpoint}"
prefix = "pre/"
access_key_file = "{tmp_path}/access"
secret_key_file = "{tmp_path}/secret"
"""
        )
        with proxy(text) as running:
            for store in ("local", "s3"):
                fields = order("object", store=store, key=key)
                reply = running.get()
                assert (reply.status, reply.body) == (200, DATA)
                assert reply.header(b"etag")
                part = running.get(fields="Range: bytes=5-9\r\n")
                assert (part.status, part.body) == (206, DATA[5:10])
                head = running.get(method="HEAD")
                assert (head.status, head.header(b"content-length")) == (200, b"%d" % len(DATA))
                tag = (reply.header(b"etag") or b"").decode()
                assert running.get(fields=f"If-None-Match: {tag}\r\n").status == 304
                assert running.get(fields="Range: bytes=9999999-\r\n").status == 416
                fields = order("object", store=store, key=key) + b"Content-Type: own/type\r\n"
                assert running.get().all(b"content-type") == [b"own/type"]
                fields = order("object", store=store, key="none")
                assert running.get().status == 404
                url = f"http://127.0.0.1:{running.port}/x"
                fields = order("object", store=store, key=key)
                partial = tmp_path / f"partial-{store}"
                partial.write_bytes(DATA[:100_000])
                subprocess.run(["curl", "-sfC", "-", "-o", partial, url], check=True, timeout=30)
                assert partial.read_bytes() == DATA
            for bad in ("../secret", "link", "", "a/../../secret", "k" * 2000):
                fields = order("object", store="local", key=bad)
                assert running.get().status in (404, 502)
            fields = order("object", store="unknown", key=key)
            assert running.get().status == 502
            assert "X-Amz" not in json.dumps(running.logged()) + running.said()
