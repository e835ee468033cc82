"""Every byte arrives: any size, any framing, many at once, in every kind of store."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.upload_site import MIB, SECRET, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.monolith import monolith
from tests.uploads.test_scrub import FILES, jpeg, saved, scrubbed, tiff
from tests.uploads.test_scrub import SECRET as SECRET_PLACE

HASHES = ("md5", "sha1", "sha256", "sha512")
PART = 5 * MIB
LARGE_PHOTO = jpeg(size=(3000, 2000), quality=95)
SIZES = (0, 1, 65_535, 65_536, 65_537, PART - 1, PART, PART + 1, 17 * MIB)


@dataclass
class World(UploadWorld):
    """One running proxy with three kinds of routes."""

    def stored(self, told: dict[str, Any]) -> bytes:
        """The object of a report, read by somebody else than us."""
        if told["store"] == "files":
            return Path(told["path"]).read_bytes()
        return self.bucket.read(told["key"])

    def check(self, told: dict[str, Any], body: bytes) -> None:
        """The report is true."""
        assert told["size"] == len(body)
        assert told["hashes"] == {n: hashlib.new(n, body).hexdigest() for n in HASHES}
        stored = self.stored(told)
        assert len(stored) == len(body)
        assert hashlib.sha256(stored).digest() == hashlib.sha256(body).digest()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("bytes")
    bucket = Bucket(seaweed, "bytes")
    upload = {"action": "upload", "hashes": HASHES}
    with monolith(SECRET) as backend:
        site = Site(
            home,
            backend,
            memory={"budget": "96MiB"},
            store={
                "objects": bucket.table(home),
                "files": {"type": "local", "path": str(home / "objects")},
            },
            route=[
                {**upload, "path": "/s3/**", "store": "objects"},
                {**upload, "path": "/live/**", "store": "objects", "retain": False},
                {**upload, "path": "/files/**", "store": "files"},
                {**upload, "path": "/live-files/**", "store": "files", "retain": False},
                {
                    **upload,
                    "path": "/photos/**",
                    "store": "objects",
                    "scrub_images": True,
                    "refuse_images": ["tiff", "heif"],
                },
                {
                    **upload,
                    "path": "/live-photos/**",
                    "store": "objects",
                    "retain": False,
                    "scrub_images": True,
                    "refuse_images": ["tiff", "heif"],
                },
            ],
        )
        with running(site):
            yield World(site, backend, bucket)
            site.forgotten()
            assert bucket.unfinished() == []


def curl(world: World, method: str, path: str, body: bytes, *options: str) -> dict[str, Any]:
    """An upload by curl; the report that came back."""
    url = f"http://127.0.0.1:{world.site.port}{path}"
    command = ["curl", "-sS", "-X", method, "-w", "\n%{http_code}", *options]
    command += ["--data-binary", "@-", "-H", "Content-Type: application/x-thing", url]
    done = subprocess.run(command, input=body, capture_output=True, timeout=90, check=True)
    answer, _, code = done.stdout.rpartition(b"\n")
    assert code == b"201", done.stdout[:300]
    told: dict[str, Any] = json.loads(answer)["upload"]
    return told


@pytest.mark.parametrize("route", ["s3", "live", "files", "live-files"])
@pytest.mark.parametrize("size", SIZES)
def test_a_known_length_arrives(world: World, route: str, size: int) -> None:
    body = body_of(size)
    told = curl(world, "PUT", f"/{route}/known/{size}", body)
    world.check(told, body)
    assert told["content_type"] == "application/x-thing"
    if route in ("s3", "live"):
        is_whole = size <= PART
        assert ("-" not in told["etag"]) == is_whole
        assert told["parts"] == (1 if is_whole else -(-size // PART))


@pytest.mark.parametrize("route", ["s3", "live", "files"])
@pytest.mark.parametrize("size", SIZES)
def test_an_unknown_length_arrives(world: World, route: str, size: int) -> None:
    body = body_of(size)
    told = curl(world, "POST", f"/{route}/unknown/{size}", body, "-H", "Transfer-Encoding: chunked")
    world.check(told, body)
    if route == "s3" and size != PART:  # exactly one part: the end may come too late to know
        assert ("-" not in told["etag"]) == (size < PART)


@pytest.mark.parametrize(
    ("sizes", "total"),
    [((1,), 70_001), ((7,), 600_000), ((65_536,), PART + 3), ((1, 7, 65_536, 4_093), 11 * MIB)],
)
def test_odd_chunks_arrive(world: World, sizes: tuple[int, ...], total: int) -> None:
    body = body_of(total)
    with world.site.client() as client:
        client.head("PUT", f"/s3/odd/{total}", {"Transfer-Encoding": "chunked"})
        client.chunks(body, sizes)
        world.check(client.response().upload, body)


@pytest.mark.parametrize("route", ["photos", "live-photos"])
@pytest.mark.parametrize("framing", [("-H", "Transfer-Encoding: chunked"), ()])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_a_photo_is_stored_without_what_it_tells_of_its_maker(
    world: World, route: str, framing: tuple[str, ...], name: str
) -> None:
    photo = LARGE_PHOTO if name == "jpeg" else FILES[name]
    assert SECRET_PLACE in photo
    told = curl(world, "PUT", f"/{route}/one", photo, *framing)
    expected = scrubbed(photo)
    assert SECRET_PLACE not in expected
    world.check(told, expected)


def test_a_photo_in_odd_chunks_is_stored_without_what_it_tells(world: World) -> None:
    with world.site.client() as client:
        client.head("PUT", "/photos/odd", {"Transfer-Encoding": "chunked"})
        client.chunks(LARGE_PHOTO, (1, 7, 65_536, 4_093))
        world.check(client.response().upload, scrubbed(LARGE_PHOTO))


@pytest.mark.parametrize("route", ["photos", "live-photos"])
@pytest.mark.parametrize("cuts", [(1, 2, 3), (70_000,)])
def test_an_image_that_cannot_be_scrubbed_is_refused_where_the_route_says_so(
    world: World, route: str, cuts: tuple[int, ...]
) -> None:
    before = world.bucket.keys()
    with world.site.client() as client:
        client.head("PUT", f"/{route}/tiff", {"Transfer-Encoding": "chunked"})
        client.chunks(tiff(), cuts)
        assert client.response().body == b"415 client: unscrubbed-image\n"
    world.site.at_rest()
    assert world.bucket.keys() == before
    gif = saved("GIF")  # which this route takes as it is
    world.check(curl(world, "PUT", f"/{route}/gif", gif), gif)


def test_bodies_of_100_mib_arrive(world: World) -> None:
    body = body_of(100 * MIB)
    world.check(curl(world, "PUT", "/s3/large", body), body)
    world.check(curl(world, "PUT", "/live/large", body), body)
    world.check(curl(world, "PUT", "/files/large", body, "-H", "Transfer-Encoding: chunked"), body)


@pytest.mark.parametrize("framing", [("-H", "Transfer-Encoding: chunked"), ()])
def test_a_body_larger_than_the_memory_budget_arrives(
    world: World, framing: tuple[str, ...]
) -> None:
    body = body_of(300 * MIB)
    told = curl(world, "POST", "/s3/larger", body, *framing)
    world.check(told, body)
    assert told["parts"] == 60
    assert told["etag"].endswith("-60")


@pytest.mark.parametrize(("count", "size"), [(8, 7 * MIB), (64, 300_000)])
@pytest.mark.parametrize("route", ["s3", "live", "files"])
def test_uploads_at_once_do_not_mix(world: World, route: str, count: int, size: int) -> None:
    def one(number: int) -> None:
        body = body_of(size + number)[number:] + b"%d" % number
        path = f"/{route}/at-once/{size}/{number}"
        with world.site.client() as client:
            if number % 2:
                client.head("PUT", path, {"Content-Length": str(len(body))})
                client.send(body)
            else:
                client.head("POST", path, {"Transfer-Encoding": "chunked"})
                client.chunks(body, (10_007,))
            world.check(client.response().upload, body)

    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(one, number) for number in range(count)]:
            done.result()


def test_a_connection_serves_one_upload_after_another(world: World) -> None:
    with world.site.client() as client:
        for number, size in enumerate([10, 0, PART + 1, 70_000]):
            body = body_of(size)
            client.head("PUT", f"/s3/kept/{number}", {"Content-Length": str(size)})
            client.send(body)
            world.check(client.response().upload, body)


def test_pipelined_uploads_are_taken_in_turn(world: World) -> None:
    first, second = body_of(PART + 5), body_of(1000)
    with world.site.client() as client:
        client.head("PUT", "/s3/piped/1", {"Content-Length": str(len(first))})
        client.send(first + b"PUT /s3/piped/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        client.send(second)
        world.check(client.response().upload, first)
        world.check(client.response().upload, second)


def test_a_request_read_with_the_end_of_a_chunked_upload_is_answered(world: World) -> None:
    first, second = body_of(300_000), body_of(1000)
    with world.site.client() as client:
        client.head("PUT", "/s3/piped/1", {"Transfer-Encoding": "chunked"})
        client.send(b"%x\r\n%b" % (len(first), first[:200_000]))
        rest = first[200_000:] + b"\r\n0\r\n\r\n"
        client.send(rest + b"PUT /s3/piped/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        client.send(second)
        world.check(client.response().upload, first)
        world.check(client.response().upload, second)


def test_a_request_without_a_body_is_an_empty_upload(world: World) -> None:
    with world.site.client() as client:
        client.head("POST", "/files/no-body", {})
        world.check(client.response().upload, b"")
