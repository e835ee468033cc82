"""What becomes of an object once its upload is reported: only a refusal removes it, and does."""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.flow.upload_site import MIB, SECRET, Client, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import Act, Fault, FaultProxy, fault_proxy, refusal
from tests.support.monolith import Asked, Said, Withheld, monolith, permit
from tests.support.waiting import eventually

DELETE, CREATE = b"DELETE /", b"?uploads HTTP"
DENIED, BUSY = refusal(403, "AccessDenied"), refusal(503, "SlowDown")


@dataclass
class World(UploadWorld):
    storage: FaultProxy
    signer: Any

    def begin(self, path: str, body: bytes) -> Client:
        """A whole upload whose answer is yet to come."""
        client = self.site.client()
        client.head("PUT", path, {"Content-Length": str(len(body))})
        client.send(body)
        return client

    def sign(self, key: str) -> dict[str, str]:
        """What a backend signs for one PUT."""
        where = {"Bucket": self.bucket.name, "Key": key}
        typed = {**where, "ContentType": "application/octet-stream"}
        client = self.signer
        return {
            "put_url": client.generate_presigned_url("put_object", Params=typed),
            "get_url": client.generate_presigned_url("get_object", Params=where),
            "delete_url": client.generate_presigned_url("delete_object", Params=where),
        }


@contextmanager
def started(home: Path, seaweed: Seaweed, **server: Any) -> Iterator[World]:
    bucket = Bucket(seaweed, "verdicts")
    address = urlsplit(seaweed.endpoint)
    with monolith(SECRET) as backend, fault_proxy("127.0.0.1", address.port or 0) as storage:
        tuned = {"timeout": "1s", "attempts": 2}
        site = Site(
            home,
            backend,
            server=server,
            store={
                "objects": bucket.table(home, endpoint=storage.endpoint, **tuned),
                "files": {"type": "local", "path": str(home / "objects")},
            },
            route=[
                {"action": "upload", "path": "/s3/**", "store": "objects"},
                {"action": "upload", "path": "/files/**", "store": "files"},
                {
                    "action": "upload",
                    "path": "/signed/**",
                    "store": "files",
                    "allowed_hosts": ["127.0.0.1"],
                },
            ],
        )
        with running(site):
            signer = replace(seaweed, endpoint=storage.endpoint).client()
            yield World(site, backend, bucket, storage, signer)


@pytest.fixture(scope="module")
def running_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    with started(tmp_path_factory.mktemp("verdicts"), seaweed) as world:
        yield world
        world.storage.expect()
        world.site.forgotten()


@pytest.fixture
def world(running_world: World) -> World:
    running_world.backend.forget()
    running_world.storage.expect()
    return running_world


class Verdicts:
    """The first report waits for its verdict until the second is answered and `released`."""

    def __init__(self, first: int, second: int) -> None:
        self._statuses = [first, second]
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, asked: Asked) -> Said:
        status = self._statuses.pop(0)
        if self._statuses:
            self.reached.set()
            assert self.released.wait(20)
        return Said(status)


@pytest.mark.parametrize("route", ["s3", "files", "signed"])
@pytest.mark.parametrize(("second", "rest"), [(201, b"of the second"), (409, None)])
def test_a_refusal_spares_the_object_of_a_later_upload(
    world: World, route: str, second: int, rest: bytes | None
) -> None:
    key = f"shared-{uuid.uuid4().hex}"
    permission = {"presigned": world.sign(key)} if route == "signed" else {}
    world.backend.authorize = lambda asked: permit(key=key, **permission)
    verdicts = world.backend.report = Verdicts(409, second)

    def stored() -> bytes | None:
        if route == "files":
            path = world.site.local / key
            return path.read_bytes() if path.exists() else None
        return world.bucket.read(key) if key in world.objects() else None

    with world.begin(f"/{route}/first", b"of the first") as first:
        assert verdicts.reached.wait(10)
        assert world.site.put(f"/{route}/second", b"of the second").status == second
        verdicts.released.set()
        assert first.response().status == 409
    world.site.at_rest()
    assert stored() == rest
    assert world.site.journal() == []


def test_a_removal_that_fails_is_tried_again_while_we_run(world: World) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(409)
    fault = Fault(DELETE, Act.ANSWER, times=4, answer=DENIED)
    world.storage.expect(fault)
    assert world.site.put("/s3/refused", b"x" * 1000).status == 409
    assert len(world.objects()) == len(before) + 1
    eventually(lambda: world.objects() == before, "removed", within=20)
    assert fault.met == fault.times
    world.site.forgotten()


def test_an_upload_whose_id_was_lost_is_aborted_while_we_run(world: World) -> None:
    """The store has begun it each time; no answer ever came, and listing it fails at first."""
    before = world.objects()
    listing = Fault(b"&prefix=", Act.ANSWER, times=2, answer=DENIED)
    world.storage.expect(Fault(CREATE, Act.LOSE, times=2), listing)
    assert world.site.put("/s3/lost", body_of(12 * MIB)).status == 503
    assert len(world.bucket.unfinished()) == 2
    world.bucket.without_unfinished()
    world.site.forgotten()
    assert listing.met == listing.times
    assert world.objects() == before


def test_a_refusal_counts_although_its_body_breaks_off(world: World) -> None:
    before = world.objects()
    torn = b"HTTP/1.1 409 No\r\nContent-Length: 100\r\n\r\nbecause"
    world.backend.report = lambda asked: Said(raw=torn)
    with world.begin("/s3/torn", b"x" * 1000) as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 409")
    world.site.at_rest()
    eventually(lambda: world.objects() == before, "removed")


@pytest.mark.parametrize("status", [307, 308])
def test_an_address_to_send_all_of_it_again_is_a_refusal(world: World, status: int) -> None:
    before = world.objects()
    elsewhere = [("Location", "/local/elsewhere")]
    world.backend.report = lambda asked: Said(status, b"", elsewhere)
    assert world.site.put("/s3/elsewhere", b"x" * 1000).status == status
    world.site.at_rest()
    eventually(lambda: world.objects() == before, "removed")


def test_a_page_to_see_next_is_no_refusal(world: World) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(303, b"", [("Location", "/thanks")])
    assert world.site.put("/s3/next", b"x" * 1000).status == 303
    world.site.at_rest()
    world.site.forgotten()
    assert len(world.objects()) == len(before) + 1


def test_an_acceptance_counts_although_its_body_breaks_off(world: World) -> None:
    before = world.objects()
    torn = b"HTTP/1.1 201 Yes\r\nContent-Length: 100\r\n\r\nwelc"
    world.backend.report = lambda asked: Said(raw=torn)
    with world.begin("/s3/torn", b"x" * 1000) as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 201")
    world.site.at_rest()
    world.site.forgotten()
    assert len(world.objects()) == len(before) + 1


# -- processes that end ----------------------------------------------------------------------------


def test_a_refused_object_goes_although_we_were_killed_before(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    with started(tmp_path, seaweed) as world:
        world.backend.report = lambda asked: Said(409)
        world.storage.expect(Fault(DELETE, Act.ANSWER, times=99, answer=DENIED))
        assert world.site.put("/s3/refused", b"x").status == 409
        assert world.site.put("/s3/refused", body_of(6 * MIB)).status == 409
        world.backend.report = lambda asked: Said(201)
        assert world.site.put("/s3/accepted", b"x").status == 201
        assert len(world.bucket.keys()) == 3
        world.site.kill()
        world.storage.expect()
        world.site.start()
        eventually(lambda: len(world.bucket.keys()) == 1, "two are removed", within=10)
        world.site.forgotten()


def test_a_leftover_of_a_store_that_is_down_at_the_start_is_tried_again(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    with started(tmp_path, seaweed) as world:
        world.backend.report = lambda asked: Said(409)
        world.storage.expect(Fault(DELETE, Act.ANSWER, times=99, answer=DENIED))
        assert world.site.put("/s3/refused", b"x").status == 409
        world.site.kill()
        fault = Fault(DELETE, Act.ANSWER, times=2, answer=DENIED)
        world.storage.expect(fault)
        world.site.start()
        world.site.forgotten()
        assert fault.met == fault.times
        assert world.bucket.keys() == []


def test_a_verdict_nobody_heard_before_the_kill_leaves_the_object_and_names_it(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    report = Withheld(Said(409))
    with started(tmp_path, seaweed) as world:
        world.backend.report = report
        with world.begin("/s3/reported", b"x"):
            assert report.reached.wait(10)
            (entry,) = world.site.journal()
            world.site.kill()
        report.released.set()
        world.site.start()
        world.site.forgotten()
        assert len(world.bucket.keys()) == 1
        assert entry.left is not None
        assert entry.left.key in world.site.errors()


@pytest.mark.parametrize(("route", "attempts"), [("s3", 2), ("signed", 5)])
def test_a_drain_waits_for_a_removal(
    tmp_path: Path, seaweed: Seaweed, route: str, attempts: int
) -> None:
    with started(tmp_path, seaweed, drain="1s", upload_drain="20s") as world:
        permission = {"presigned": world.sign("k")} if route == "signed" else {}
        world.backend.authorize = lambda asked: permit(key="k", **permission)
        world.backend.report = lambda asked: Said(409)
        world.storage.expect(Fault(DELETE, Act.ANSWER, times=attempts, answer=BUSY))
        assert world.site.put(f"/{route}/refused", b"x").status == 409
        assert len(world.bucket.keys()) == 1
        os.kill(world.site.pid, signal.SIGTERM)
        assert world.site.process is not None
        assert world.site.process.wait(20) == 0
        assert world.bucket.keys() == []
        assert world.site.journal() == []
