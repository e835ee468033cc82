"""Uploads behind a GitLab that believes nobody but Workhorse: what it hears, and what is left."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.upload_site import MIB, SECRET, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.monolith import Asked, Said
from tests.support.rails import Rails, Received, form_of, permit, rails
from tests.support.waiting import eventually

PART = 5 * MIB
PACKAGE = "/api/v4/projects/group%2Fproject/packages/generic/p/1/f.bin"


@dataclass
class World:
    """One running proxy between clients, a Rails, a bucket and a directory."""

    site: Site
    rails: Rails
    bucket: Bucket
    seaweed: Seaweed

    @property
    def temp_path(self) -> str:
        return str(self.site.local / "packages/tmp/uploads")

    @property
    def file(self) -> Received:
        (file,) = self.rails.received
        return file

    def signed(self, key: str, parts: int = 0) -> dict[str, Any]:
        """A RemoteObject as Rails makes it: all URLs, and with `parts` a multipart upload."""
        client, place = self.bucket.client, {"Bucket": self.bucket.name, "Key": key}

        def url(operation: str, **more: Any) -> str:
            text: str = client.generate_presigned_url(operation, {**place, **more})
            return text

        remote = {
            "ID": f"id-{key}", "Timeout": 14400, "GetURL": url("get_object"),
            "StoreURL": url("put_object", ContentType="x/y"), "DeleteURL": url("delete_object"),
            "CustomPutHeaders": True, "PutHeaders": {"Content-Type": "x/y"},
        }  # fmt: skip
        if parts:
            upload = {"UploadId": client.create_multipart_upload(**place)["UploadId"]}
            numbers = range(1, parts + 1)
            remote["PutHeaders"] = {}
            remote["MultipartUpload"] = {
                "PartSize": PART,
                "PartURLs": [url("upload_part", PartNumber=number, **upload) for number in numbers],
                "CompleteURL": url("complete_multipart_upload", **upload),
                "AbortURL": url("abort_multipart_upload", **upload),
            }
        return remote

    def client_config(self, key: str, **more: Any) -> dict[str, Any]:
        """A RemoteObject for who has the bucket's credentials; Rails signs a URL all the same."""
        config = {
            "Bucket": self.bucket.name, "Endpoint": self.seaweed.endpoint, "PathStyle": True,
            "Region": "us-east-1", "UseIamProfile": False, "AwsSDK": "v2",
        }  # fmt: skip
        return {
            **self.signed(key),
            "UseWorkhorseClient": True,
            "RemoteTempObjectID": key,
            "ObjectStorage": {"Provider": "AWS", "S3Config": config},
            **more,
        }

    def nothing_left(self) -> None:
        """No file, no object, no multipart upload, nothing held."""
        self.site.at_rest()
        self.bucket.without_unfinished()
        eventually(lambda: not self.bucket.keys() and not self.site.objects(), "nothing left")


@pytest.fixture(scope="module")
def running_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("gitlab")
    bucket = Bucket(seaweed, "gitlab")
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
                {
                    "action": "upload", "path": "/api/v4/projects/**/packages/**",
                    "store": "shared", "stores": ["objects"],
                    "allowed_hosts": [seaweed.endpoint.removeprefix("http://")],
                },
                {
                    "action": "form", "path": "/api/v4/projects/*", "methods": ["PUT"],
                    "store": "shared", "authorize_each": True,
                    "authorize_path": "/api/v4/internal/workhorse/authorize_upload",
                },
                {"action": "proxy", "path": "/**"},
            ],
        )  # fmt: skip
        with running(site):
            yield World(site, backend, bucket, seaweed)
            site.forgotten()


@pytest.fixture
def world(running_world: World) -> World:
    running_world.rails.forget()
    return running_world


def test_a_file_lies_in_temp_path_while_rails_answers_and_no_longer(world: World) -> None:
    body = body_of(3 * MIB)
    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path)
    answer = world.site.put(PACKAGE + "?status=default", body, **{"PRIVATE-TOKEN": "glpat"})
    assert (answer.status, answer.body) == (201, b"created")
    values = world.file.values
    assert world.file.content == body
    assert Path(values["path"]).parent == Path(world.temp_path)
    assert (values["name"], values["size"]) == ("upload", str(len(body)))
    assert (values["remote_id"], values["remote_url"]) == ("", "")
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert values[name] == hashlib.new(name, body).hexdigest()
    assert float(values["upload_duration"]) > 0
    question, report = world.rails.seen
    assert question.target == PACKAGE + "/authorize?status=default"
    assert report.target == PACKAGE + "?status=default"
    assert (question.body, question.field("Content-Length")) == (b"", "0")
    assert question.field("PRIVATE-TOKEN") == report.field("PRIVATE-TOKEN") == "glpat"
    assert question.field("X-Request-Id") == report.field("X-Request-Id")
    assert report.field("Content-Type") == "application/x-www-form-urlencoded"
    world.nothing_left()


def test_a_file_that_rails_moved_away_stays(world: World) -> None:
    kept = world.site.home / "kept"

    def move(asked: Asked) -> Said:
        Path(world.file.values["path"]).rename(kept)
        return Said(201, b"moved")

    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path)
    world.rails.finalize = move
    assert world.site.put(PACKAGE, b"abc").status == 201
    world.nothing_left()
    assert kept.read_bytes() == b"abc"


def test_a_signed_put_is_deleted_once_rails_has_copied_it(world: World) -> None:
    body = body_of(2 * MIB)

    def copy(asked: Asked) -> Said:
        source = {"Bucket": world.bucket.name, "Key": "tmp/1"}
        world.bucket.client.copy_object(Bucket=world.bucket.name, Key="final", CopySource=source)
        return Said(201, b"copied")

    world.rails.authorize = lambda asked: permit(RemoteObject=world.signed("tmp/1"))
    world.rails.finalize = copy
    assert world.site.put(PACKAGE, body).status == 201
    eventually(lambda: world.bucket.keys() == ["final"], "the temporary object is gone")
    assert world.bucket.read("final") == body
    assert world.file.remote_id == "id-tmp/1"
    assert world.file.values["path"] == ""
    assert world.file.values["remote_url"].startswith(world.seaweed.endpoint)
    world.bucket.client.delete_object(Bucket=world.bucket.name, Key="final")
    world.nothing_left()


def test_a_body_of_unknown_length_goes_to_the_signed_parts(world: World) -> None:
    body = body_of(2 * PART + 7)
    stored: list[bytes] = []

    def look(asked: Asked) -> Said:
        stored.append(world.bucket.read("tmp/2"))
        return Said(201, b"seen")

    world.rails.authorize = lambda asked: permit(RemoteObject=world.signed("tmp/2", parts=4))
    world.rails.finalize = look
    with world.site.client() as client:
        client.head("PUT", PACKAGE, {"Transfer-Encoding": "chunked"})
        client.chunks(body, [65537])
        assert client.response().status == 201
    assert stored == [body]
    assert world.file.values["sha256"] == hashlib.sha256(body).hexdigest()
    world.nothing_left()


def test_our_own_credentials_are_used_when_rails_wants_it(world: World) -> None:
    body = body_of(PART + 1)
    stored: list[list[str]] = []

    def look(asked: Asked) -> Said:
        stored.append(world.bucket.keys())
        return Said(201, b"seen")

    # The URLs that come along lead nowhere.
    urls = dict.fromkeys(("StoreURL", "GetURL", "DeleteURL"), "https://nowhere.invalid/")
    remote = world.client_config("tmp/3", **urls)
    world.rails.authorize = lambda asked: permit(RemoteObject=remote)
    world.rails.finalize = look
    assert world.site.put(PACKAGE, body).status == 201
    assert stored == [["tmp/3"]]
    assert world.file.remote_id == "id-tmp/3"
    world.nothing_left()


@pytest.mark.parametrize("way", ["signed", "client_config"])
def test_what_rails_keeps_stays_unless_it_refuses(world: World, way: str) -> None:
    make: Callable[[str], dict[str, Any]] = getattr(world, way)
    world.rails.authorize = lambda asked: permit(
        RemoteObject={**make("final/4"), "SkipDelete": True}
    )
    world.rails.finalize = lambda asked: Said(422, b"invalid")
    assert world.site.put(PACKAGE, b"abc").status == 422
    world.nothing_left()
    world.rails.finalize = lambda asked: Said(201, b"kept")
    assert world.site.put(PACKAGE, b"abc").status == 201
    world.site.at_rest()
    assert world.bucket.read("final/4") == b"abc"
    world.bucket.client.delete_object(Bucket=world.bucket.name, Key="final/4")


def test_an_lfs_object_that_is_not_what_it_is_called_leaves_nothing(world: World) -> None:
    oid = hashlib.sha256(b"good").hexdigest()
    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path, LfsOid=oid, LfsSize=4)
    assert world.site.put(PACKAGE, b"evil").status == 422
    assert world.site.put(PACKAGE, b"longer").status == 422
    world.nothing_left()
    assert not world.rails.received
    assert world.site.put(PACKAGE, b"good").status == 201
    assert world.file.values["sha256"] == oid


def test_a_body_over_maximum_size_leaves_nothing(world: World) -> None:
    world.rails.authorize = lambda asked: permit(
        RemoteObject=world.signed("tmp/5", parts=3), MaximumSize=PART + 1
    )
    with world.site.client() as client:
        client.head("PUT", PACKAGE, {"Transfer-Encoding": "chunked"})
        client.chunks(body_of(PART + 2), [65536])
        assert client.response().status == 413
    assert not world.rails.received
    world.nothing_left()


def test_the_files_of_a_form_are_asked_for_at_the_one_place_for_it(world: World) -> None:
    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path)
    forms: list[dict[str, str]] = []

    def look(asked: Asked) -> Said:
        forms.append(form_of(asked))
        return Said(200, b"changed")

    world.rails.finalize = look
    name = 'Content-Disposition: form-data; name="name"\r\n\r\nshop'
    file = 'Content-Disposition: form-data; name="avatar"; filename="a.png"\r\n\r\n\x89PNG'
    body = f"--B\r\n{name}\r\n--B\r\n{file}\r\n--B--\r\n".encode("latin-1")
    fields = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = world.site.put("/api/v4/projects/7?private=1", body, **fields)
    assert (answer.status, answer.body) == (200, b"changed")
    question, report = world.rails.seen
    path = "/api/v4/internal/workhorse/authorize_upload?private=1"
    assert (question.method, question.target) == ("POST", path)
    assert (report.method, report.target) == ("PUT", "/api/v4/projects/7?private=1")
    assert (world.file.field, world.file.content) == ("avatar", b"\x89PNG")
    assert world.file.values["name"] == "a.png"
    assert forms[0]["name"].strip() == "shop"
    assert "avatar" not in forms[0]
    world.nothing_left()


FORGED = {
    "Gitlab-Workhorse": "v17",
    "Gitlab-Workhorse-Api-Request": "forged",
    "gitlab-workhorse-MULTIPART-fields": "forged",
    "Gitlab_Workhorse_Multipart_Fields": "forged",
}


def test_no_client_speaks_in_workhorses_name(world: World) -> None:
    world.rails.authorize = lambda asked: permit(TempPath=world.temp_path)
    assert world.site.put(PACKAGE, b"abc", **FORGED).status == 201
    assert world.site.put("/group/project", b"abc", **FORGED).body == b"plain\n"
    assert len(world.rails.seen) == 3
    for asked in world.rails.seen:
        assert (asked.field("Gitlab-Workhorse") or "").startswith("fastproxy-")
        assert "forged" not in str(asked.fields)
    assert world.rails.seen[2].field("Gitlab-Workhorse-Api-Request") is None


@pytest.mark.parametrize("fields", [{}, {"Expect": "100-continue"}])
def test_plain_requests_say_by_whom_they_come(world: World, fields: dict[str, str]) -> None:
    for _ in range(3):  # over a kept connection by the express lane
        assert world.site.put("/group/project", b"abc", **fields).status == 200
    assert len(world.rails.seen) == 3
    for asked in world.rails.seen:
        assert (asked.field("Gitlab-Workhorse") or "").startswith("fastproxy-")
        assert asked.body == b"abc"


def test_a_permission_for_a_plain_request_reaches_no_client(world: World) -> None:
    """A client that guesses the path of a question would get URLs that open the store."""
    secret = permit(RemoteObject={"StoreURL": "https://store.example/?X-Amz-Signature=s3cret"})
    world.rails.report = lambda asked: secret
    answer = world.site.put("/group/project", b"abc")
    assert answer.status == 502
    assert b"s3cret" not in answer.body


def test_a_refusal_reaches_the_client_unchanged(world: World) -> None:
    refusal = Said(401, b"who?", [("WWW-Authenticate", "Basic realm=GitLab"), ("X-A", "b")])
    world.rails.authorize = lambda asked: refusal
    answer = world.site.put(PACKAGE, b"abc")
    assert (answer.status, answer.body) == (401, b"who?")
    assert answer.headers["WWW-Authenticate"] == "Basic realm=GitLab"
    assert answer.headers["X-A"] == "b"


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({}, "TempPath"),
        ({"TempPath": "/etc"}, "TempPath"),
        ({"RemoteObject": {"ID": "1", "StoreURL": "http://169.254.169.254/x"}}, "allowed_hosts"),
        ({"RemoteObject": {"ID": "1"}}, "URL"),
        ({"RemoteObject": {"ID": 1}}, "ID"),
    ],
)
def test_a_permission_that_must_not_be_followed_is_the_backends_fault(
    world: World, answer: dict[str, Any], field: str
) -> None:
    world.rails.authorize = lambda asked: permit(**answer)
    path = f"{PACKAGE}{uuid.uuid4().hex}"
    assert world.site.put(path, b"abc").status == 502
    line = world.site.line(path)
    assert (line["end"], line["error_kind"]) == ("backend", "bad-authorize-answer")
    assert field in world.site.errors()
    world.nothing_left()
