"""What a CI runner does: artifacts as a form of unknown length, to a GitLab behind us."""

import hashlib
import json
import socket
from collections.abc import Iterator

import pytest

from tests.flow.test_gitlab import World
from tests.flow.upload_site import MIB, SECRET, Response, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.monolith import Asked, Said
from tests.support.rails import form_of, permit, rails

PATH = "/api/v4/jobs/7/artifacts"
HEAD = {
    "Content-Type": "multipart/form-data; boundary=B",
    "Transfer-Encoding": "chunked",
    "Expect": "100-continue",
    "JOB-TOKEN": "t",
}


@pytest.fixture(scope="module")
def running_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("runner")
    bucket = Bucket(seaweed, "runner")
    hosts = [seaweed.endpoint.removeprefix("http://")]
    with rails(SECRET, home / "objects") as backend:
        site = Site(
            home,
            backend,
            to_backend={"dialect": "gitlab"},
            store={
                "shared": {"type": "local", "path": str(home / "objects")},
                "objects": bucket.table(home),
            },
            route=[
                {"action": "form", "path": "/api/v4/jobs/*/artifacts", "store": "shared",
                 "allowed_hosts": hosts},
            ],
        )  # fmt: skip
        with running(site):
            yield World(site, backend, bucket, seaweed)
            site.forgotten()


@pytest.fixture
def world(running_world: World) -> World:
    running_world.rails.forget()
    return running_world


def part(name: str, data: bytes, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return (
        f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        + data
        + b"\r\n"
    )


def post(world: World, *parts: bytes) -> Response:
    """As a runner does: it waits for the permission, then sends as the archive grows."""
    with world.site.client() as client:
        client.head("POST", PATH + "?artifact_format=zip", HEAD)
        if client.sock.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) != b"HTTP/1.1 100":
            return client.response()
        client.chunks(b"".join(parts) + b"--B--\r\n", [32_768])
        return client.response()


@pytest.mark.parametrize("way", ["TempPath", "parts"])
def test_a_runner_sends_an_archive_whose_length_it_does_not_know(world: World, way: str) -> None:
    archive = body_of(11 * MIB + 3)
    stored: list[bytes] = []
    forms: list[dict[str, str]] = []

    def look(asked: Asked) -> Said:
        forms.append(form_of(asked))
        is_local = way == "TempPath"
        stored.append(world.file.content if is_local else world.bucket.read("tmp/a"))
        return Said(201, b"kept")

    if way == "TempPath":
        permission = permit(TempPath=world.temp_path)
    else:
        permission = permit(RemoteObject=world.signed("tmp/a", parts=4))
    world.rails.authorize = lambda asked: permission
    world.rails.finalize = look
    answer = post(world, part("file", archive, "artifacts.zip"), part("expire_in", b"1 week"))
    assert (answer.status, answer.body) == (201, b"kept")
    assert stored == [archive]
    values = world.file.values
    assert (values["name"], values["size"]) == ("artifacts.zip", str(len(archive)))
    assert values["sha256"] == hashlib.sha256(archive).hexdigest()
    assert {name: forms[0][f"file.{name}"] for name in values} == values
    assert forms[0]["expire_in"].strip() == "1 week"
    question, report = world.rails.seen
    assert question.target == PATH + "/authorize?artifact_format=zip"
    assert question.field("JOB-TOKEN") == report.field("JOB-TOKEN") == "t"
    world.nothing_left()


PARTS = {
    "two files for one place": (413, [part("file", b"1", "a"), part("other", b"2", "b")]),
    "a field of ours behind": (400, [part("file", b"1", "a"), part("file.path", b"/etc/passwd")]),
    "a field of ours before": (400, [part("file.path", b"/etc/passwd"), part("file", b"1", "a")]),
    "a token": (400, [part("x.gitlab-workhorse-upload", b"1")]),
    "bytes without a name": (400, [part("", b"1", "a")]),
    "no file, which is no fault": (200, []),
}


@pytest.mark.parametrize(("status", "parts"), PARTS.values(), ids=PARTS)
def test_nothing_is_left_of_what_rails_began_for_a_file_that_does_not_come(
    world: World, status: int, parts: list[bytes]
) -> None:
    remote = world.signed("tmp/b", parts=2)
    world.rails.authorize = lambda asked: permit(RemoteObject=remote)
    answer = post(world, *parts)
    assert answer.status == status
    world.nothing_left()


def test_a_client_that_leaves_before_its_file_leaves_nothing_begun(world: World) -> None:
    remote = world.signed("tmp/c", parts=2)
    world.rails.authorize = lambda asked: permit(RemoteObject=remote)
    with world.site.client() as client:
        client.head("POST", PATH, HEAD)
        assert client.sock.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 100"
    world.nothing_left()


def test_two_files_of_one_name_are_refused_for_rails_would_see_one(world: World) -> None:
    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path)
    answer = post(world, part("file", b"1", "a"), part("file", b"2", "b"))
    assert answer.body == b"400 client: bad-form\n"
    world.nothing_left()


def test_what_rails_refuses_a_runner_need_not_send(world: World) -> None:
    world.rails.authorize = lambda asked: Said(
        403,
        json.dumps({"message": "403 Forbidden"}).encode(),
        [("Content-Type", "application/json")],
    )
    assert post(world, part("file", b"1", "a")).status == 403
    world.nothing_left()
