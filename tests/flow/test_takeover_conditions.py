"""Ranges and conditions of what is sent: by the RFC, whatever the store knows of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.flow.test_takeover import HELLO, order
from tests.handlers.static.byteranges import parts_of
from tests.servers.seaweed import Seaweed
from tests.support.client import Reply
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin, response

OLD, NEW = "Fri, 01 Jan 2010 00:00:00 GMT", "Fri, 01 Jan 2038 00:00:00 GMT"
CASES = [  # fields, status, Content-Range
    ("Range: bytes=0-1", 206, "bytes 0-1/12"),
    ("Range: bytes=7-", 206, "bytes 7-11/12"),
    ("Range: bytes=-5", 206, "bytes 7-11/12"),
    ("Range: bytes=-100", 206, "bytes 0-11/12"),
    ("Range: Bytes=5-6", 206, "bytes 5-6/12"),
    ("Range: bytes=5-99999999999999999999", 206, "bytes 5-11/12"),
    ("Range: bytes=-0", 416, "bytes */12"),
    ("Range: bytes=12-", 416, "bytes */12"),
    ("Range: bytes=99999999999999999999-", 416, "bytes */12"),
    ("Range: bytes=5-2", 200, None),
    ("Range: bytes=5", 200, None),
    ("Range: lines=0-1", 200, None),
    ("Range: bytes=0-1,1-5", 200, None),
    ("Range: bytes=12-,14-15", 416, "bytes */12"),
    ("Range: bytes=0-1|Range: bytes=4-5", 200, None),
    ("Range: bytes=0-1|If-Range: {tag}", 206, "bytes 0-1/12"),
    ("Range: bytes=0-1|If-Range: W/{tag}", 200, None),
    ('Range: bytes=0-1|If-Range: "x"', 200, None),
    ("Range: bytes=0-1|If-Range: {date}", 206, "bytes 0-1/12"),
    ("Range: bytes=0-1|If-Range: {old}", 200, None),
    ("Range: bytes=0-1|If-Range: {new}", 200, None),
    ("Range: bytes=0-1|If-Range: junk", 200, None),
    ("Range: bytes=12-|If-Range: {tag}", 416, "bytes */12"),
    ('Range: bytes=12-|If-Range: "x"', 200, None),
    ("If-Match: {tag}", 200, None),
    ("If-Match: *", 200, None),
    ('If-Match: "x", {tag}', 200, None),
    ("If-Match: W/{tag}", 412, None),
    ('If-Match: "x"', 412, None),
    ("If-Match: junk", 412, None),
    ('If-Match: "x"|Range: bytes=0-1', 412, None),
    ('If-Match: "x"|Range: bytes=12-', 412, None),
    ("If-Match: {tag}|If-Unmodified-Since: {old}", 200, None),
    ("If-Unmodified-Since: {old}", 412, None),
    ("If-Unmodified-Since: {date}", 200, None),
    ("If-Unmodified-Since: junk", 200, None),
    ("If-None-Match: {tag}", 304, None),
    ("If-None-Match: W/{tag}", 304, None),
    ("If-None-Match: *", 304, None),
    ('If-None-Match: "x"', 200, None),
    ('If-None-Match: "x"|If-None-Match: {tag}', 304, None),
    ("If-None-Match: {tag}|Range: bytes=0-1", 304, None),
    ('If-None-Match: "x"|If-Modified-Since: {new}', 200, None),
    ("If-Modified-Since: {date}", 304, None),
    ("If-Modified-Since: {old}", 200, None),
    ("If-Modified-Since: junk", 200, None),
    ('If-Match: "x"|If-None-Match: {tag}', 412, None),
    ("If-Match: {tag}|If-None-Match: {tag}", 304, None),
    ("If-Unmodified-Since: {old}|If-None-Match: {tag}", 412, None),
]


@dataclass
class World:
    """`orders` by the places that they lead to."""

    proxy: Proxy
    orders: dict[str, bytes] = field(default_factory=dict)
    fields: bytes = b""

    def ask(self, place: str, fields: str = "", method: str = "GET") -> Reply:
        """`fields` as in CASES."""
        self.fields = self.orders[place]
        whole = self.proxy.get()
        tag, date = whole.header(b"etag"), whole.header(b"last-modified")
        assert tag
        assert date
        known = {"tag": tag.decode(), "date": date.decode(), "old": OLD, "new": NEW}
        lines = [f"{line}\r\n" for line in fields.format(**known).split("|") if line]
        return self.proxy.get(fields="".join(lines), method=method)


def careless(peer: Peer) -> None:
    """A store that knows neither ranges nor conditions."""
    about = b'ETag: "t1"\r\nLast-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n'
    while (request := peer.request()) is not None:
        whole = response(HELLO, fields=about)
        peer.send(whole.removesuffix(HELLO) if request.method == b"HEAD" else whole)


@pytest.fixture(scope="module")
def world(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("conditions")
    (home / "f").write_bytes(HELLO)
    os.utime(home / "f", (1_700_000_000, 1_700_000_000))
    witness = seaweed.client()
    witness.create_bucket(Bucket="conditions")
    witness.put_object(Bucket="conditions", Key="f", Body=HELLO)
    made: World

    def near(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=made.fields))

    send = f'send = {{ files = ["{home}"], stores = ["bucket", "careless"] }}'
    with origin(near) as backend, origin(careless) as poor:
        stores = "".join(
            f"""
[store.{name}]
type = "s3"
bucket = "conditions"
endpoint = "{endpoint}"
{seaweed.keys(home)}
"""
            for name, endpoint in (("bucket", seaweed.endpoint), ("careless", poor.address))
        )
        with proxy(to_backend(backend.address, send) + stores) as running:
            made = World(running)
            made.orders = {"file": order("file", path=f"{home}/f")}
            for name in ("bucket", "careless"):
                made.orders[name] = order("object", store=name, key="f")
            yield made


@pytest.mark.parametrize("place", ["file", "bucket", "careless"])
def test_each_request_gets_what_the_rfc_says(world: World, place: str) -> None:
    for fields, status, content_range in CASES:
        expected = 200 if place == "careless" and status == 206 else status
        reply = world.ask(place, fields)
        assert reply.status == expected, fields
        told = content_range.encode() if content_range and expected != 200 else None
        assert reply.header(b"content-range") == told, fields
        if expected == 206:
            first, last = content_range.split()[1].split("/")[0].split("-")
            assert reply.body == HELLO[int(first) : int(last) + 1], fields
        else:
            assert reply.body == (HELLO if expected == 200 else b""), fields
        assert reply.header(b"etag") or expected in (412, 416), fields
        assert b"xml" not in reply.raw_head, fields  # nothing of a store's own text


def test_several_ranges_of_a_file_are_parts_and_of_an_object_the_whole(world: World) -> None:
    fields = "Range: bytes=7-,0-1|If-Range: {tag}"
    reply = world.ask("file", fields)
    type_ = (reply.header(b"content-type") or b"").decode()
    assert (reply.status, reply.header(b"content-range")) == (206, None)
    ranges = [(said["content-range"], data) for said, data in parts_of(type_, reply.body)]
    assert ranges == [("bytes 7-11/12", HELLO[7:]), ("bytes 0-1/12", HELLO[:2])]
    for place in ("bucket", "careless"):  # S3 gives no parts, and a server may ignore a range
        reply = world.ask(place, fields)
        assert (reply.status, reply.body) == (200, HELLO)
        assert reply.header(b"content-range") is None


@pytest.mark.parametrize("place", ["file", "bucket", "careless"])
def test_head_gets_the_same_but_for_ranges(world: World, place: str) -> None:
    for fields, status, _ in CASES:
        reply = world.ask(place, fields, "HEAD")
        expected = 200 if status in (206, 416) else status
        assert (reply.status, reply.header(b"content-range")) == (expected, None), fields
        if expected == 200:
            assert reply.header(b"content-length") == b"12", fields
