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


MOVED = {
    b"/moved": (302, b"/data"),
    b"/moved-away": (302, b"http://169.254.169.254/latest"),
    b"/circle": (302, b"/circle"),
    **{b"/%d" % status: (status, b"/echo") for status in (302, 303, 307, 308)},
}


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
        if path in MOVED:
            status, to = MOVED[path]
            fields = b"Location: %b\r\n" % to
            peer.send(response(b"moved", status=b"%d Moved" % status, fields=fields))
        elif path == b"/echo":
            kind = request.header(b"content-type") or b"-"
            peer.send(response(b"%b %b %b" % (request.method, kind, request.body)))
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


@pytest.mark.parametrize(
    "name", ["X-Accel-Redirect", "x_sendfile", "Fastproxy-Send", "GITLAB_WORKHORSE-X"]
)
def test_an_order_cannot_give_a_client_what_only_proxies_get(world: World, name: str) -> None:
    """A proxy in front of us would follow it."""
    world.url("/data", response_headers={name: "/protected/x"})
    assert world.proxy.get().status == 502


def test_workhorses_own_order_is_understood(world: World) -> None:
    url = f"http://{world.at}"
    world.fields = order("send-url", URL=f"{url}/moved", AllowRedirects=True)
    assert world.proxy.get().body == DATA
    world.fields = order("send-url", URL=f"{url}/data", Header={"X-A": ["1", "2"]})
    assert world.proxy.get().status == 200
    assert world.host.requests[-1].all(b"x-a") == [b"1", b"2"]
    slow = {"ResponseHeaderTimeout": "50ms", "TimeoutResponseStatus": 503}
    world.fields = order("send-url", URL=f"{url}/silent", ErrorResponseStatus=500, **slow)
    assert world.proxy.get().status == 503
    for bad in (
        {"Method": "CONNECT"},
        {"ErrorResponseStatus": 200},
        {"ResponseHeaderTimeout": "x"},
    ):
        world.fields = order("send-url", URL=f"{url}/data", **bad)
        assert world.proxy.get().status == 502


def test_a_body_is_sent_as_ordered_and_redirects_keep_or_drop_it(world: World) -> None:
    sent = {"method": "POST", "body": "k\u00fcrzer", "headers": {"Content-Type": "a/b"}}
    whole, bare = "POST a/b k\u00fcrzer".encode(), b"GET - "
    for path, body in (
        *(("/echo", whole), ("/302", bare), ("/303", bare), ("/307", whole), ("/308", whole)),
    ):
        world.url(path, redirects=True, **sent)
        assert world.proxy.get(fields="Range: bytes=1-\r\nIf-Match: a\r\n").body == body
        raw = world.host.requests[-1].raw_head.lower()
        assert b"range" not in raw
        assert b"if-match" not in raw
    world.fields = order("send-url", URL=f"http://{world.at}/echo", Method="PUT", Body="b")
    assert world.proxy.get().body == b"PUT - b"
    head = world.proxy.get(method="HEAD")
    assert (head.status, head.header(b"content-length")) == (200, b"7")
    for bad in ({"body": "b"}, {"body": "b", "method": "GET"}, {"method": "GET\r\n"}):
        world.url("/echo", **bad)
        assert world.proxy.get().status == 502


def test_a_url_that_is_signed_for_get_is_asked_by_get_also_for_head(world: World) -> None:
    for fields in (
        order("send-url", URL=f"http://{world.at}/data"),
        order("url", url=f"http://{world.at}/data", method="GET"),
    ):
        world.fields = fields
        with world.proxy.client() as client:
            for _ in range(2):
                head = client.get(method="HEAD", fields="Range: bytes=5-9\r\n")
                assert (head.status, head.header(b"content-length")) == (200, b"%d" % len(DATA))
        assert world.host.requests[-1].method == b"GET"
        assert world.host.requests[-1].header(b"range") is None
    world.url("/cut", method="GET")
    with world.proxy.client() as client:  # the body, which breaks off, is not waited for
        assert [client.get(method="HEAD").header(b"content-length") for _ in "12"] == [b"100"] * 2


def test_the_orders_own_range_goes_before_the_clients(world: World) -> None:
    world.url("/data", headers={"Range": "bytes=1048570-"})
    reply = world.proxy.get(fields='Range: bytes=0-\r\nIf-Range: "old"\r\n')
    assert (reply.status, reply.body) == (206, DATA[1048570:])
    assert world.host.requests[-1].all(b"range") == [b"bytes=1048570-"]
    assert world.host.requests[-1].header(b"if-range") is None


def test_a_host_that_does_not_know_if_range_does_not_mix_two_versions(world: World) -> None:
    world.url("/data")
    for version, status in (('"v1"', 206), ('"v0"', 200), ('W/"v1"', 200)):
        reply = world.proxy.get(fields=f"Range: bytes=1000-\r\nIf-Range: {version}\r\n")
        assert (reply.status, reply.body) == (status, DATA[1000:] if status == 206 else DATA)


def test_no_other_fields_of_the_host_than_the_order_wants_are_passed_on(world: World) -> None:
    wanted = ["ETag", "sErver", "Set-Cookie", "Cache-Control"]
    url = f"http://{world.at}/data"
    restricted = {"Enabled": True, "AllowList": wanted}
    for fields in (
        order("url", url=url, pass_headers=wanted, response_headers={"X-Own": "1"}),
        order(
            "send-url",
            URL=url,
            RestrictForwardedResponseHeaders=restricted,
            ResponseHeaders={"X-Own": ["1"]},
        ),
    ):
        world.fields = fields
        reply = world.proxy.get(fields="Range: bytes=1000-\r\n")
        assert (reply.status, reply.body) == (206, DATA[1000:])
        assert reply.header(b"content-range")  # or the bytes would pass for the first ones
        whole = world.proxy.get()
        names = {line.split(b":")[0].lower() for line in whole.raw_head.split(b"\r\n")[1:]}
        assert names == {
            *(b"etag", b"server", b"x-own", b"cache-control"),
            *(b"content-length", b"date", b"x-accel-buffering"),
        }
        assert whole.all(b"cache-control") == [b"private"]
    off = {"Enabled": False, "AllowList": None}
    world.fields = order("send-url", URL=url, RestrictForwardedResponseHeaders=off)
    assert world.proxy.get().header(b"content-type") == b"image/x-far"


def test_a_field_that_is_not_known_is_refused(world: World) -> None:
    url = f"http://{world.at}/data"
    transform = {"Key": "tarball", "From": url, "To": "https://us.example"}
    before = world.host.connections
    for fields in (
        order("send-url", URL=url, TransformConfig=transform),
        order("url", url=url, max_bytez=5),
    ):
        world.fields = fields
        assert world.proxy.get().status == 502
    assert world.host.connections == before


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200),
        ({"SSRFFilter": False, "AllowLocalhost": False}, 200),
        ({"SSRFFilter": True}, 502),
        ({"SSRFFilter": True, "AllowLocalhost": True}, 200),
        ({"SSRFFilter": True, "AllowedEndpoints": ["10.0.0.0/8", "other"]}, 502),
        ({"SSRFFilter": True, "AllowedEndpoints": ["127.0.0.1:1"]}, 200),
        ({"SSRFFilter": True, "AllowedURIs": ["http://127.0.0.1/x"]}, 200),
    ],
)
def test_an_order_may_want_fewer_addresses_than_are_configured(
    world: World, more: dict[str, object], status: int
) -> None:
    world.fields = order("send-url", URL=f"http://{world.at}/data", **more)
    assert world.proxy.get().status == status
    world.url("/data", public_only=status != 200)
    assert world.proxy.get().status == status


def test_only_what_may_be_done_twice_is_asked_again_on_a_dead_connection() -> None:
    def closing(peer: Peer) -> None:
        """The first request of a connection is answered, the second is not."""
        for _ in range(2):
            request = peer.request()
            if request is None or len(peer.requests) == 2:
                return
            peer.send(response(request.method))

    def ordering(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            method = request.target[1:].decode()
            peer.send(response(fields=order("url", url=host.address, method=method)))

    with origin(closing) as host, origin(ordering) as backend:
        at = host.address.removeprefix("http://")
        send = f'send = {{ networks = ["127.0.0.0/8"], hosts = ["{at}"] }}'
        with proxy(to_backend(backend.address, send)) as running:
            for method, status in (("GET", 200), ("DELETE", 200), ("POST", 502), ("PATCH", 502)):
                running.get("/GET")
                while len(host.peers[-1].requests) != 1:
                    running.get("/GET")  # until one is kept that will not answer
                before = len(host.requests)
                assert running.get(f"/{method}").status == status
                assert [r.method for r in host.requests[before:]].count(method.encode()) == (
                    2 if status == 200 else 1
                )


def test_credentials_do_not_follow_to_another_host() -> None:
    secret = {"Authorization": "Bearer t", "COOKIE": "s=1", "X-Token": "t"}

    def moved(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            to = {b"/away": f"{there.address}/data", b"/near": "/away"}[request.target]
            peer.send(response(status=b"302 Found", fields=f"Location: {to}\r\n".encode()))

    def ordering(peer: Peer) -> None:
        url = f"{here.address}/near"
        while peer.request() is not None:
            peer.send(response(fields=order("url", url=url, redirects=True, headers=secret)))

    with origin(far) as there, origin(moved) as here, origin(ordering) as backend:
        hosts = [each.address.removeprefix("http://") for each in (here, there)]
        send = f'send = {{ networks = ["127.0.0.0/8"], hosts = {hosts} }}'
        with proxy(to_backend(backend.address, send)) as running:
            assert running.get().body == DATA
        told = [
            [r.header(name) for name in (b"authorization", b"cookie", b"x-token")]
            for r in (*here.requests, *there.requests)
        ]
    assert told == [[b"Bearer t", b"s=1", b"t"]] * 2 + [[None, None, b"t"]]


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
{seaweed.keys(tmp_path)}
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
