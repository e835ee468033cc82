"""Clients that leave, backends that refuse or die, stores that fail: nothing stays behind."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.flow.upload_site import MIB, SECRET, Client, Response, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import Act, Fault, FaultProxy, fault_proxy, refusal
from tests.support.monolith import Asked, HangUp, Said, monolith, permit
from tests.support.waiting import eventually

PART = 5 * MIB
CHUNKED = {"Transfer-Encoding": "chunked"}
STORE_TIMEOUT_S = 1.0


@dataclass
class World(UploadWorld):
    """A proxy whose way to its store is a proxy that fails."""

    storage: FaultProxy


@pytest.fixture(scope="module")
def running_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("faults")
    bucket = Bucket(seaweed, "faults")
    address = urlsplit(seaweed.endpoint)
    with monolith(SECRET) as backend, fault_proxy("127.0.0.1", address.port or 0) as storage:
        tuned = {"timeout": f"{STORE_TIMEOUT_S:g}s", "attempts": 3}
        site = Site(
            home,
            backend,
            limits={"body_timeout": "2s"},
            to_backend={"header_timeout": "2s"},
            store={
                "objects": bucket.table(home, endpoint=storage.endpoint, **tuned),
                "files": {"type": "local", "path": str(home / "objects")},
            },
            route=[
                {"action": "upload", "path": "/s3/**", "store": "objects"},
                {"action": "upload", "path": "/live/**", "store": "objects", "retain": False},
                {"action": "upload", "path": "/files/**", "store": "files"},
            ],
        )
        with running(site):
            yield World(site, backend, bucket, storage)
            storage.is_down = False
            storage.expect()
            site.at_rest()
            site.kill()  # what a store that was down did not let us undo is left to the next start
            site.start()
            site.forgotten()


@pytest.fixture
def world(running_world: World) -> World:
    running_world.backend.forget()
    running_world.storage.is_down = False
    running_world.storage.expect()
    return running_world


class Gate:
    """A script that waits in the middle."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, asked: Asked) -> Said:
        self.reached.set()
        assert self.opened.wait(20)
        return self._said


def leave(client: Client, how: str) -> None:
    """FIN with a half-closed socket would still wait for an answer: this one is gone."""
    if how == "RST":
        client.reset()
    else:
        client.sock.close()


# -- clients that leave ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("fields", [{"Content-Length": "100000"}, CHUNKED, {"Content-Length": "0"}])
def test_a_client_that_leaves_before_the_permission(
    world: World, how: str, fields: dict[str, str]
) -> None:
    before = world.objects()
    path = f"/s3/{uuid.uuid4().hex}"
    gate = world.backend.authorize = Gate(permit())
    client = world.site.client()
    client.head("PUT", path, fields)
    assert gate.reached.wait(10)
    leave(client, how)
    gate.opened.set()
    if how == "FIN" and fields == {"Content-Length": "0"}:
        # a complete request whose sender has only closed its side: nobody can know it is gone
        eventually(lambda: world.backend.reports(path), "reported")
        assert len(world.objects()) == len(before) + 1
        return
    world.nothing_new(before)
    assert world.backend.reports(path) == []
    line = world.site.line(path)
    assert (line["end"], line["upload_bytes"]) == ("client", 0)
    assert line["status"] == (0 if how == "RST" else 400)  # after FIN it may still read


@pytest.mark.parametrize("route", ["s3", "live", "files"])
@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("fields", [{"Content-Length": str(20 * MIB)}, CHUNKED])
@pytest.mark.parametrize("sent", [1000, 11 * MIB])
def test_a_client_that_leaves_in_the_middle_of_its_body(
    world: World, route: str, how: str, fields: dict[str, str], sent: int
) -> None:
    before = world.objects()
    path = f"/{route}/{uuid.uuid4().hex}"
    client = world.site.client()
    client.head("PUT", path, fields)
    if fields == CHUNKED:
        client.send(b"%x\r\n" % (20 * MIB))
    client.send(body_of(sent))
    if route != "files" and sent > PART and fields == CHUNKED:
        eventually(lambda: world.bucket.parts() >= 1, "a part is stored")
    leave(client, how)
    world.nothing_new(before)
    assert world.backend.reports(path) == []
    line = world.site.line(path)
    assert (line["end"], line["upload_bytes"]) == ("client", 0)


def test_a_body_shorter_than_declared_is_refused(world: World) -> None:
    before = world.objects()
    with world.site.client() as client:
        client.head("PUT", "/files/short", {"Content-Length": "1000"})
        client.send(b"x" * 999)
        client.sock.shutdown(1)
        assert client.response(5).status == 400
    world.nothing_new(before)
    assert world.backend.reports("/files/short") == []


def test_a_client_that_stops_sending_is_given_up(world: World) -> None:
    before = world.objects()
    with world.site.client() as client:
        client.head("PUT", "/s3/stops", {"Content-Length": "1000"})
        client.send(b"x" * 999)
        assert client.response(10).body == b"408 client: too-slow\n"
    world.nothing_new(before)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize(("status", "kept"), [(201, 1), (409, 0), (500, 0)])
def test_the_report_decides_although_the_client_left(
    world: World, how: str, status: int, kept: int
) -> None:
    before = world.objects()
    path = f"/s3/{uuid.uuid4().hex}"
    gate = world.backend.report = Gate(Said(status, b"x" * 100_000))
    client = world.site.client()
    client.head("PUT", path, {"Content-Length": "10"})
    client.send(b"0123456789")
    assert gate.reached.wait(10)
    leave(client, how)
    assert len(world.objects()) == len(before) + 1
    gate.opened.set()
    world.site.at_rest()
    eventually(lambda: len(world.objects()) == len(before) + kept, f"{kept} kept")


# -- backends that refuse or die -------------------------------------------------------------------


@pytest.mark.parametrize("route", ["s3", "live", "files"])
@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_a_refused_report_removes_the_object(world: World, route: str, status: int) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(status, b"because\n", [("X-Why", "no")])
    answer = world.site.put(f"/{route}/refused", b"x" * 1000)
    assert (answer.status, answer.body, answer.headers["X-Why"]) == (status, b"because\n", "no")
    world.nothing_new(before)


def test_a_report_that_may_have_arrived_leaves_the_object_and_names_it(world: World) -> None:
    """The backend may have committed before it died: an orphan is better than a lost file."""

    def die(asked: Asked) -> Said:
        keys.append(asked.upload["key"])
        raise HangUp

    def sleep(asked: Asked) -> Said:
        keys.append(asked.upload["key"])
        return gate(asked)

    keys: list[str] = []
    gate = Gate(Said(201))
    world.backend.report = die
    assert world.site.put("/s3/dies", body_of(6 * MIB)).body == b"502 backend: backend-closed\n"
    world.backend.report = sleep
    assert world.site.put("/s3/never", b"x").body == b"504 backend: backend-timeout\n"
    gate.opened.set()
    world.site.at_rest()
    for key in keys:
        assert world.bucket.read(key)
        assert key in world.site.errors()


def test_a_report_that_never_arrived_removes_the_object(world: World) -> None:
    before = world.objects()
    path = f"/s3/{uuid.uuid4().hex}"
    with world.site.client() as client:
        client.head("PUT", path, {"Content-Length": "10"})
        eventually(lambda: world.backend.questions(path), "asked")
        with world.backend.away():
            client.send(b"0123456789")
            assert client.response().body == b"502 backend: connect-failed\n"
    world.nothing_new(before)


def test_a_report_does_not_meet_a_connection_that_the_backend_just_closed(world: World) -> None:
    def close_if_kept(asked: Asked) -> Said:
        if asked.nth > 1:
            raise HangUp
        return Said(201)

    world.backend.report = close_if_kept
    for method in ("PUT", "POST"):
        with world.site.client() as client:
            client.head(method, "/files/kept-alive", {"Content-Length": "3"})
            client.send(b"abc")
            assert client.response().status == 201


# -- stores that fail and recover ------------------------------------------------------------------

PART_2, CREATE = b"partNumber=2", b"?uploads HTTP"

MENDED = {
    "a part meets SlowDown": Fault(PART_2, Act.ANSWER, answer=refusal(503, "SlowDown")),
    "a part meets 500 twice": Fault(
        PART_2, Act.ANSWER, times=2, answer=refusal(500, "InternalError")
    ),
    "a part is reset at its head": Fault(PART_2, Act.RESET),
    "a part is reset in its middle": Fault(PART_2, Act.RESET, after=2 * MIB),
    "the answer to a part is lost": Fault(PART_2, Act.LOSE),
    "the answer to a part is cut": Fault(PART_2, Act.LOSE, keep=20),
    "a part stalls": Fault(PART_2, Act.STALL, after=MIB),
    "a part is delayed": Fault(PART_2, Act.DELAY, seconds=0.3),
    "an error hides in the 200 of complete": Fault(
        b"<CompleteMultipartUpload", Act.ANSWER, answer=refusal(200, "InternalError")
    ),
    "the answer to complete is lost": Fault(b"<CompleteMultipartUpload", Act.LOSE),
    "the answer to create is lost": Fault(CREATE, Act.LOSE),
    "create meets 503": Fault(CREATE, Act.ANSWER, answer=refusal(503, "SlowDown")),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_store_that_recovers_gets_every_byte(world: World, name: str) -> None:
    fault = MENDED[name]
    world.storage.expect(fault)
    body = body_of(13 * MIB)
    path = f"/s3/mended/{uuid.uuid4().hex}"
    told = world.site.put(path, body).upload
    assert fault.met == fault.times
    assert world.bucket.read(told["key"]) == body
    world.bucket.without_unfinished()
    world.site.at_rest()


@pytest.mark.parametrize("act", [Act.RESET, Act.LOSE, Act.STALL, Act.ANSWER])
def test_a_small_upload_is_put_again(world: World, act: Act) -> None:
    fault = Fault(b"PUT /", act, answer=refusal(503, "SlowDown"))
    world.storage.expect(fault)
    told = world.site.put("/s3/small", b"x" * 100_000).upload
    assert fault.met == 1
    assert world.bucket.read(told["key"]) == b"x" * 100_000


# -- stores that do not recover --------------------------------------------------------------------

BROKEN = {
    "every part is refused": (
        Fault(b"partNumber", Act.ANSWER, times=99, answer=refusal(403, "AccessDenied")),
        b"502 storage: store-refused\n",
    ),
    "every part meets 503": (
        Fault(PART_2, Act.ANSWER, times=99, answer=refusal(503, "SlowDown")),
        b"503 storage: store-unavailable\n",
    ),
    "every part stalls": (
        Fault(PART_2, Act.STALL, times=99, after=MIB),
        b"503 storage: store-unavailable\n",
    ),
    "complete is refused": (
        Fault(
            b"<CompleteMultipartUpload", Act.ANSWER, times=99, answer=refusal(400, "InvalidPart")
        ),
        b"502 storage: store-refused\n",
    ),
    "create is refused": (
        Fault(CREATE, Act.ANSWER, times=99, answer=refusal(403, "AccessDenied")),
        b"502 storage: store-refused\n",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_store_that_stays_broken_is_named_and_left_clean(world: World, name: str) -> None:
    before = world.objects()
    fault, said = BROKEN[name]
    world.storage.expect(fault)
    path = f"/s3/broken/{uuid.uuid4().hex}"
    answer = world.site.put(path, body_of(12 * MIB))
    assert answer.body == said
    world.storage.expect()
    world.nothing_new(before)
    line = world.site.line(path)
    assert (line["end"], line["status"]) == ("storage", answer.status)
    assert world.backend.reports(path) == []


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_a_part_that_was_not_retained_fails_once(world: World, size: int) -> None:
    before = world.objects()
    world.storage.expect(Fault(b"PUT /", Act.RESET, after=500, times=99))
    answer = world.site.put("/live/not-retained", body_of(size))
    assert answer.status == 503
    assert answer.body.startswith(b"503 storage: ")
    world.storage.expect()
    world.nothing_new(before)


def test_a_store_that_is_down_is_named_until_it_is_up(world: World) -> None:
    before = world.objects()
    world.storage.is_down = True
    world.storage.expect(Fault(b"", Act.RESET, times=10_000))  # also on connections it has
    answer = world.site.put("/s3/down", b"x" * 1000)
    assert answer.body == b"503 storage: store-unavailable\n"
    assert answer.headers["Retry-After"] == "5"
    world.storage.is_down = False
    world.storage.expect()
    assert world.objects() == before
    assert world.site.put("/s3/up", b"x" * 1000).status == 201


# -- deadlines -------------------------------------------------------------------------------------


def trickle(client: Client) -> Response:
    """A byte at a time until there is an answer."""
    while client.nothing_for(0.1):
        client.send(b"1\r\nx\r\n")
    return client.response(5)


def test_the_uploads_deadline_counts_for_slow_clients(world: World) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: permit(timeout=1)
    with world.site.client() as client:
        client.head("PUT", "/s3/deadline", CHUNKED)
        assert trickle(client).body == b"408 client: too-slow\n"
    world.nothing_new(before)


def test_the_uploads_deadline_counts_for_slow_stores(world: World) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: permit(timeout=1.2)
    world.storage.expect(Fault(PART_2, Act.DELAY, seconds=3, times=99))
    answer = world.site.put("/s3/slow-store", body_of(12 * MIB))
    assert answer.body == b"504 storage: store-timeout\n"
    world.storage.expect()
    world.nothing_new(before)
