"""CI artifacts by contrib/gitlab's own table: a runner sends them, Rails keeps and serves them."""

import base64
import gzip
import io
import json
import socket
import struct
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from tests.docs.test_gitlab import TEXT, served
from tests.flow.upload_site import MIB, body_of
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.client import Reply
from tests.support.harness import Proxy
from tests.support.monolith import Asked, Said
from tests.support.rails import Rails, Received, form_of, permit
from tests.support.waiting import eventually
from tests.zips.archives import archive

UPLOADS = "var/opt/gitlab/gitlab-rails/shared/artifacts/tmp/uploads"  # what Rails believes
JOB = "/api/v4/jobs/7/artifacts"
MEMBERS = {"out/a.txt": b"text", "out/large.bin": body_of(6 * MIB), "log": b"1"}
ARCHIVE = archive(MEMBERS, method=zipfile.ZIP_STORED)


@dataclass
class Jobs:
    """Rails' API of jobs, with artifacts in a bucket or in files."""

    bucket: Bucket
    uploads: Path
    is_remote: bool = False
    maximum: int = 100 * MIB
    kept: dict[str, Any] = field(default_factory=dict)

    def authorize(self, asked: Asked) -> Said:
        """POST /jobs/:id/artifacts/authorize"""
        if asked.field("JOB-TOKEN") != "secret":
            return Said(403, b'{"message":"403 Forbidden"}')
        if not self.is_remote:
            return permit(TempPath=str(self.uploads), MaximumSize=self.maximum)
        remote = {**self.signed(f"@final/{uuid.uuid4().hex}"), "SkipDelete": True}
        return permit(RemoteObject=remote, LocalTempPath="/tmp", MaximumSize=self.maximum)

    def signed(self, key: str) -> dict[str, Any]:
        """A multipart upload of unknown length that Rails has begun."""
        client, place = self.bucket.client, {"Bucket": self.bucket.name, "Key": key}
        upload = {"UploadId": client.create_multipart_upload(**place)["UploadId"]}

        def url(operation: str, **more: Any) -> str:
            text: str = client.generate_presigned_url(operation, {**place, **more})
            return text

        return {
            "ID": key, "GetURL": url("get_object"), "DeleteURL": url("delete_object"),
            "CustomPutHeaders": True, "PutHeaders": {}, "Timeout": 14400,
            "MultipartUpload": {
                "PartSize": 5 * MIB,
                "PartURLs": [url("upload_part", PartNumber=n, **upload) for n in (1, 2, 3)],
                "CompleteURL": url("complete_multipart_upload", **upload),
                "AbortURL": url("abort_multipart_upload", **upload),
            },
        }  # fmt: skip

    def finalize(self, asked: Asked, received: list[Received]) -> Said:
        """POST /jobs/:id/artifacts"""
        if asked.field("JOB-TOKEN") != "secret":
            return Said(403)
        files = {file.field: file for file in received}
        if "file" not in files:
            return Said(400, b"Missing artifacts file!")
        query = parse_qs(asked.target.partition("?")[2])
        self.kept = {
            "type": query["artifact_type"][0],
            "expire_in": form_of(asked).get("expire_in", "").strip(),
            "content": self.content(files["file"]),
            "metadata": None,
        }
        if (metadata := files.get("metadata")) is not None:
            assert metadata.content is not None, "Rails takes it as a file"
            assert metadata.values["name"] == "metadata.gz"
            self.kept["metadata"] = entries(metadata.content)
        self.kept["place"] = files["file"].remote_id
        return Said(201, b"{}")

    def content(self, file: Received) -> bytes:
        return file.content if file.content is not None else self.bucket.read(file.remote_id)

    def show(self, asked: Asked) -> Said:
        """GET /jobs/:id/artifacts/*artifact_path"""
        place = {"Bucket": self.bucket.name, "Key": self.kept["place"]}
        order = {
            "Archive": self.bucket.client.generate_presigned_url("get_object", place),
            "Entry": base64.b64encode(asked.path.removeprefix(JOB + "/").encode()).decode(),
        }
        text = base64.urlsafe_b64encode(json.dumps(order).encode()).decode()
        return Said(200, b"", [("Gitlab-Workhorse-Send-Data", f"artifacts-entry:{text}")])


def entries(metadata: bytes) -> dict[str, dict[str, Any]]:
    """GitLab's list, read as its Gitlab::Ci::Build::Artifacts::Metadata reads it."""
    file = io.BytesIO(gzip.decompress(metadata))

    def strings() -> Iterator[bytes]:
        while prefix := file.read(4):
            (length,) = struct.unpack(">I", prefix)
            yield file.read(length)

    version, errors, *rest = strings()
    assert version == b"GitLab Build Artifacts Metadata 0.0.2\n"
    assert json.loads(errors) == {}
    paths = [path.decode() for path in rest[::2]]
    return dict(zip(paths, map(json.loads, rest[1::2]), strict=True))


def part(about: str, content: bytes) -> bytes:
    head = f"--B\r\nContent-Disposition: form-data; {about}\r\n\r\n"
    return head.encode() + content + b"\r\n"


@dataclass
class World:
    front: Proxy
    rails: Rails
    jobs: Jobs

    def send(
        self, content: bytes, name: str = "file", token: str = "secret", **query: str
    ) -> Reply:
        """As a runner does: chunked, and not before it may."""
        self.rails.seen.clear()
        self.rails.received.clear()
        self.jobs.kept = {}
        target = f"{JOB}?{urlencode({'artifact_type': 'archive', **query})}"
        head = (
            f"POST {target} HTTP/1.1\r\nHost: gitlab.test\r\nJOB-TOKEN: {token}\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\n"
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        )
        form = part(f'name="{name}"; filename="artifacts.zip"', content)
        form += part('name="expire_in"', b"1 week") + b"--B--\r\n"
        with self.front.client() as client:
            client.send(head.encode())
            if client.sock.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) != b"HTTP/1.1 100":
                return client.reply()
            for at in range(0, len(form), 1 << 16):
                piece = form[at : at + (1 << 16)]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
            return client.reply()

    def nothing_left(self) -> None:
        """No file in any place for uploads, no multipart upload."""
        places = self.jobs.uploads
        eventually(
            lambda: not [p for p in places.rglob("*") if p.is_file() and p.name != "lock"],
            "no temporary file",
        )
        self.jobs.bucket.without_unfinished()


@pytest.fixture(scope="module")
def running_world(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("artifacts")
    jobs = Jobs(Bucket(seaweed, "artifacts"), home / UPLOADS)
    host = seaweed.endpoint.removeprefix("http://")
    text = TEXT
    for old, new in (
        ("workers = 0", "workers = 1"),
        ("max_files = 1", f'max_files = 1\nzip_members = 50\nallowed_hosts = ["{host}"]'),
        ('# hosts = ["HOST"]', f'hosts = ["{host}"]\nnetworks = ["127.0.0.0/8"]'),
    ):
        assert old in text
        text = text.replace(old, new)
    with served(text, home, UPLOADS) as (front, backend):
        yield World(front, backend, jobs)


@pytest.fixture(params=["files", "bucket"])
def world(running_world: World, request: pytest.FixtureRequest) -> World:
    jobs, backend = running_world.jobs, running_world.rails
    jobs.is_remote, jobs.maximum = request.param == "bucket", 100 * MIB
    backend.authorize = jobs.authorize
    backend.finalize = lambda asked: jobs.finalize(asked, backend.received)
    backend.report = jobs.show
    return running_world


def test_an_archive_is_kept_with_the_list_of_its_members(world: World) -> None:
    assert world.send(ARCHIVE, artifact_format="zip").status == 201
    kept = world.jobs.kept
    assert kept["content"] == ARCHIVE
    assert (kept["type"], kept["expire_in"]) == ("archive", "1 week")
    assert list(kept["metadata"]) == ["log", "out/", "out/a.txt", "out/large.bin"]
    assert kept["metadata"]["out/large.bin"]["size"] == 6 * MIB
    assert [asked.field("JOB-TOKEN") for asked in world.rails.seen] == ["secret", "secret"]
    if world.jobs.is_remote:
        for name, content in MEMBERS.items():
            assert world.front.get(f"{JOB}/{name}").body == content
        assert world.front.get(f"{JOB}/none").status == 404
    world.nothing_left()


@pytest.mark.parametrize("kind", ["gzip", "raw"])
def test_other_formats_are_kept_as_they_are(world: World, kind: str) -> None:
    for content in (gzip.compress(b"<testsuites/>"), ARCHIVE):
        assert world.send(content, artifact_format=kind).status == 201
        assert world.jobs.kept["content"] == content
        assert world.jobs.kept["metadata"] is None
    world.nothing_left()


UNLISTED = {
    "no zip archive": b"no archive",
    "more than 50 members": archive({f"{n}": b"" for n in range(51)}),
    "no member where one should be": ARCHIVE.replace(b"PK\1\2", b"PK\1\3"),
}


@pytest.mark.parametrize(("why", "content"), UNLISTED.items(), ids=UNLISTED)
def test_what_has_no_list_is_kept_and_the_log_says_why(
    world: World, why: str, content: bytes
) -> None:
    assert world.send(content).status == 201
    assert world.jobs.kept["content"] == content
    assert world.jobs.kept["metadata"] is None
    assert why in world.front.said()
    world.nothing_left()


def test_a_file_over_the_maximum_is_refused(world: World) -> None:
    world.jobs.maximum = len(ARCHIVE) - 1
    assert world.send(ARCHIVE).status == 413
    assert not world.jobs.kept
    world.nothing_left()


def test_a_job_whose_token_is_wrong_need_not_send(world: World) -> None:
    reply = world.send(ARCHIVE, token="other")
    assert (reply.status, reply.body) == (403, b'{"message":"403 Forbidden"}')
    world.nothing_left()


@pytest.mark.parametrize("name", ["metadata", "other"])
def test_a_file_in_another_field_is_not_an_artifact(world: World, name: str) -> None:
    """A list of the client's own would be believed."""
    assert world.send(ARCHIVE, name=name).status == 400
    assert not world.jobs.kept
    world.nothing_left()
