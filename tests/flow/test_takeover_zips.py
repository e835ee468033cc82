"""Members of zip archives and narrower images that a backend orders, out of every kind of place."""

import base64
import io
import json
import random
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.flow.test_takeover import order
from tests.servers.seaweed import Seaweed
from tests.support.harness import Proxy, Reply, proxy, to_backend
from tests.support.origin import Origin, Peer, origin, response
from tests.support.waiting import eventually
from tests.zips.archives import archive

LARGE = random.Random(1).randbytes(700_000) + bytes(3_000_000)
ARCHIVE = archive({"out/": b"", "out/large.bin": LARGE, "out/a.txt": b"text", "empty": b""})
STORED = archive({"a.html": b"<script>"}, method=zipfile.ZIP_STORED, comment=b"c" * 3000)


def photo(kind: str = "PNG", size: tuple[int, int] = (400, 300)) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(out, kind)
    return out.getvalue()


PHOTO = photo()
BOMB = photo(size=(3000, 2000))
OBJECTS = {"whole.zip": ARCHIVE, "stored.zip": STORED, "text": b"none" * 9, "empty": b"",
           "photo": PHOTO, "bomb": BOMB}  # fmt: skip


@dataclass
class World:
    """A backend that orders what it is told to; `places`: how an order names an object there."""

    backend: Origin
    proxy: Proxy
    places: dict[str, Any]
    fields: bytes = b""

    def ask(self, kind: str, place: str, key: str, method: str = "GET", **more: Any) -> Reply:
        self.fields = order(kind, **self.places[place](key), **more)
        return self.proxy.get(method=method)


@pytest.fixture(scope="module")
def world(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("zips")
    witness = seaweed.client()
    witness.create_bucket(Bucket="zips")
    (home / "files").mkdir()
    for key, data in OBJECTS.items():
        if data:  # boto3 and SeaweedFS wait a minute for each other over nothing
            witness.put_object(Bucket="zips", Key=key, Body=data)
        (home / "files" / key).write_bytes(data)
    made = World(None, None, {  # type: ignore[arg-type] # both follow
        "bucket": lambda key: {"store": "s3", "key": key},
        "directory": lambda key: {"store": "local", "key": key},
        "file": lambda key: {"path": f"{home}/files/{key}"},
    })  # fmt: skip

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=made.fields))

    send = (
        f'send = {{ stores = ["local", "s3"], files = ["{home}/files"], image_widths = [64, 100] }}'
    )
    with origin(script) as backend:
        text = f"""
{to_backend(backend.address, send)}
[images]
max_pixels = 1000000
[store.local]
type = "local"
path = "{home}/files"
[store.s3]
type = "s3"
bucket = "zips"
endpoint = "{seaweed.endpoint}"
{seaweed.keys(home)}
"""
        with proxy(text) as running:
            made.backend, made.proxy = backend, running
            yield made


PLACES = ["bucket", "directory", "file"]


@pytest.mark.parametrize("place", PLACES)
def test_a_member_is_unpacked_on_its_way(world: World, place: str) -> None:
    reply = world.ask("zip-member", place, "whole.zip", member="out/large.bin")
    assert (reply.status, reply.body) == (200, LARGE)
    assert reply.header(b"content-length") == b"%d" % len(LARGE)
    assert reply.header(b"content-disposition") == b'attachment; filename="large.bin"'
    assert world.ask("zip-member", place, "whole.zip", member="empty").body == b""
    small = world.ask("zip-member", place, "whole.zip", member="out/a.txt")
    assert (small.body, small.header(b"content-type")) == (b"text", b"text/plain; charset=utf-8")


@pytest.mark.parametrize("place", PLACES)
def test_a_stored_member_of_an_archive_with_a_comment_is_sent(world: World, place: str) -> None:
    reply = world.ask("zip-member", place, "stored.zip", member="a.html")
    assert reply.body == b"<script>"
    assert reply.header(b"x-content-type-options") == b"nosniff"
    head = world.ask("zip-member", place, "stored.zip", method="HEAD", member="a.html")
    assert (head.status, head.header(b"content-length")) == (200, b"8")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("key", "member"),
    [("whole.zip", "none"), ("whole.zip", "out/"), ("text", "a"), ("empty", "a"), ("none", "a")],
)
def test_what_is_not_there_is_not_found(world: World, place: str, key: str, member: str) -> None:
    assert world.ask("zip-member", place, key, member=member).status == 404


def ends(running: Proxy) -> list[str]:
    return [line["error_kind"] for line in running.logged()]


def test_a_member_that_does_not_unpack_is_cut(world: World, tmp_path: Path) -> None:
    at = ARCHIVE.index(b"out/large.bin") + 1000
    damaged = ARCHIVE[:at] + bytes(100) + ARCHIVE[at + 100 :]
    path = Path(world.places["file"]("damaged.zip")["path"])
    path.write_bytes(damaged)
    world.fields = order("zip-member", path=str(path), member="out/large.bin")
    with world.proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        size = 0
        with suppress(ConnectionResetError):
            while piece := client.sock.recv(1 << 20):
                size += len(piece)
    assert size < len(LARGE)
    eventually(lambda: "store-mismatch" in ends(world.proxy), "whose fault it was")


@pytest.mark.parametrize(
    "what",
    [
        {"member": "a"},
        {"member": "a", "key": "whole.zip", "path": "/x"},
        {"member": "a", "key": "whole.zip", "store": "none"},
        {"member": "a", "path": "/etc/passwd"},
        {"key": "whole.zip"},
    ],
)
def test_an_order_that_names_no_archive_is_the_backends_fault(
    world: World, what: dict[str, str]
) -> None:
    world.fields = order("zip-member", **what)
    assert world.proxy.get().status == 502


def width(reply: Reply) -> int:
    assert reply.status == 200
    return Image.open(io.BytesIO(reply.body)).width


@pytest.mark.parametrize("place", PLACES)
def test_an_image_is_made_narrower_on_its_way(world: World, place: str) -> None:
    for wanted in (64, 100):
        reply = world.ask("image", place, "photo", width=wanted, content_type="image/png")
        assert width(reply) == wanted
        assert reply.header(b"content-type") == b"image/png"


@pytest.mark.parametrize("key", ["bomb", "text"])
def test_what_cannot_be_scaled_is_sent_as_it_is(world: World, key: str) -> None:
    reply = world.ask("image", "bucket", key, width=64, content_type="image/png")
    assert (reply.status, reply.body) == (200, OBJECTS[key])
    assert reply.header(b"x-content-type-options") == b"nosniff"


@pytest.mark.parametrize(
    "what", [{"width": 65, "content_type": "image/png"}, {"width": 64, "content_type": "text/html"}]
)
def test_other_widths_and_types_are_not_made(world: World, what: dict[str, Any]) -> None:
    assert world.ask("image", "file", "photo", **what).status == 502


def test_gitlabs_orders_for_files_and_urls(seaweed: Seaweed, tmp_path: Path) -> None:
    witness = seaweed.client()
    witness.create_bucket(Bucket="artifacts")
    for key, data in (("7/artifacts.zip", ARCHIVE), ("avatar", PHOTO)):
        witness.put_object(Bucket="artifacts", Key=key, Body=data)
        (tmp_path / Path(key).name).write_bytes(data)

    def url(key: str) -> str:
        where = {"Bucket": "artifacts", "Key": key}
        return str(witness.generate_presigned_url("get_object", Params=where))

    fields = b""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=fields))

    def gitlab(kind: str, **what: object) -> bytes:
        text = base64.urlsafe_b64encode(json.dumps(what).encode()).decode()
        return f"Gitlab-Workhorse-Send-Data: {kind}:{text}\r\n".encode()

    host = seaweed.endpoint.removeprefix("http://")
    send = f"""dialect = "gitlab"
send = {{ files = ["{tmp_path}"], hosts = ["{host}"], networks = ["127.0.0.0/8"], \
image_widths = [64] }}"""
    entry = base64.encodebytes(b"out/large.bin").decode()  # with Ruby's newline
    with origin(script) as backend, proxy(to_backend(backend.address, send)) as running:
        for place in (f"{tmp_path}/artifacts.zip", url("7/artifacts.zip")):
            fields = gitlab("artifacts-entry", Archive=place, Entry=entry)
            assert running.get().body == LARGE
        for place in (f"{tmp_path}/avatar", url("avatar")):
            fields = gitlab("send-scaled-img", Location=place, Width=64, ContentType="image/png")
            assert width(running.get()) == 64
        elsewhere = url("avatar").replace(host, "169.254.169.254")
        fields = gitlab("artifacts-entry", Archive=elsewhere, Entry=entry)
        assert running.get().status == 502
        fields = gitlab("artifacts-entry", Archive=url("none"), Entry=entry)
        assert running.get().status == 404
        fields = gitlab("artifacts-entry", Archive=url("none"), Entry="not base64!")
        assert running.get().status == 502
        assert "Signature" not in running.said()
