"""What the backend is asked and told, and what it may answer."""

import hashlib
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.upload_site import MIB, SECRET, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.monolith import (
    PERMISSION_TYPE,
    REPORT_TYPE,
    Asked,
    HangUp,
    Said,
    Withheld,
    monolith,
    permit,
)
from tests.support.waiting import eventually

PART = 5 * MIB
CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass
class World(UploadWorld):
    """One running proxy and its backend's scripts."""

    seaweed: Seaweed


@pytest.fixture(scope="module")
def running_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("protocol")
    bucket = Bucket(seaweed, "protocol")
    with monolith(SECRET) as backend:
        host = seaweed.endpoint.removeprefix("http://")
        site = Site(
            home,
            backend,
            to_backend={"header_timeout": "1s"},
            store={
                "objects": bucket.table(home),
                "files": {"type": "local", "path": str(home / "objects")},
            },
            route=[
                {"action": "upload", "path": "/s3/**", "store": "objects"},
                {"action": "upload", "path": "/live/**", "store": "objects", "retain": False},
                {
                    "action": "upload", "path": "/files/**", "store": "files",
                    "stores": ["objects"],
                },
                {
                    "action": "upload", "path": "/signed/**", "store": "files",
                    "allowed_hosts": [host],
                },
                {"action": "upload", "path": "/small/**", "store": "files", "max_size": "1MiB"},
                {"action": "upload", "path": "/gone/**", "store": "files", "delete_after": True},
                {"action": "proxy", "path": "/**"},
            ],
        )  # fmt: skip
        with running(site):
            yield World(site, backend, bucket, seaweed)
            site.forgotten()


@pytest.fixture
def world(running_world: World) -> World:
    running_world.backend.forget()
    return running_world


# -- what the backend hears ------------------------------------------------------------------------


def test_both_claims_hold_what_a_backend_may_rely_on(world: World) -> None:
    body = body_of(1000)
    answer = world.site.put("/files/a%20b?x=1", body, **{"Content-Type": "text/plain"})
    (question,) = world.backend.questions("/files/a%20b")
    (report,) = world.backend.reports("/files/a%20b")
    asked = world.backend.claims(question.field("Fastproxy-Authorize") or "", "fastproxy-authorize")
    told = world.backend.claims(report.field("Fastproxy-Upload") or "", "fastproxy-upload")
    for claims in (asked, told):
        assert 0 < claims["exp"] - claims["iat"] <= 60
        assert (claims["method"], claims["path"]) == ("PUT", "/files/a b")
    assert asked["jti"] != told["jti"]
    assert (asked["length"], asked["content_type"]) == (1000, "text/plain")
    assert told["body_sha256"] == hashlib.sha256(report.body).hexdigest()
    assert told["upload"] == report.upload == answer.upload
    assert question.target == "/files/a%20b/authorize?x=1"
    assert report.target == "/files/a%20b?x=1"
    assert report.field("Content-Type") == REPORT_TYPE


def test_no_two_claims_share_an_id(world: World) -> None:
    for _ in range(5):
        world.site.put("/files/jti", b"x")
    questions = world.backend.questions("/files/jti")
    reports = world.backend.reports("/files/jti")
    tokens = [(q.field("Fastproxy-Authorize"), "fastproxy-authorize") for q in questions]
    tokens += [(r.field("Fastproxy-Upload"), "fastproxy-upload") for r in reports]
    ids = {world.backend.claims(token or "", audience)["jti"] for token, audience in tokens}
    assert len(ids) == 10


def test_who_asks_is_passed_on_and_what_describes_the_body_is_not(world: World) -> None:
    fields = {
        "Authorization": "Bearer s3cr3t",
        "Cookie": "session=s3cr3t",
        "X-Custom": "yes",
        "Content-Type": "image/png",
        "Content-Encoding": "gzip",
        "Content-MD5": "AAAA",
        "Digest": "x",
        "X-HTTP-Method-Override": "POST",
    }
    world.site.put("/files/who", b"12345", **fields)
    (question,) = world.backend.questions("/files/who")
    (report,) = world.backend.reports("/files/who")
    for asked in (question, report):
        assert asked.method == "PUT"
        assert asked.field("Authorization") == "Bearer s3cr3t"
        assert asked.field("Cookie") == "session=s3cr3t"
        assert asked.field("X-Custom") == "yes"
        assert asked.field("Host") == "uploads.test"
        assert asked.field("X-Forwarded-For") == "127.0.0.1"
        assert asked.field("X-Request-Id") == world.site.line("/files/who")["request_id"]
        for name in ("Content-Encoding", "Content-MD5", "X-HTTP-Method-Override"):
            assert asked.field(name) is None
    assert question.field("Content-Type") is None
    assert question.body == b""
    assert int(report.field("Content-Length") or 0) == len(report.body)


def test_a_clients_own_claims_never_reach_the_backend(world: World) -> None:
    forged = {
        "Fastproxy-Upload": "forged",
        "fastproxy-AUTHORIZE": "forged",
        "Fastproxy-Anything": "forged",
        "Fastproxy_Upload": "forged",
    }
    world.site.put("/files/forged", b"x", **forged)
    with world.site.client() as client:
        client.head("GET", "/plain", forged)
        assert client.response().body == b"plain\n"
    with world.site.client() as client:
        client.head("PUT", "/plain", {**forged, **CHUNKED})
        client.chunks(b"abc", (1,))
        assert client.response().status == 200
    assert len(world.backend.seen) == 4
    for asked in world.backend.seen:
        assert all(value != "forged" for _, value in asked.fields), asked


# -- permission ------------------------------------------------------------------------------------


def test_100_continue_waits_for_permission(world: World) -> None:
    authorize = world.backend.authorize = Withheld(permit())
    body = body_of(70_000)
    with world.site.client() as client:
        fields = {"Content-Length": str(len(body)), "Expect": "100-continue"}
        client.head("PUT", "/files/continue", fields)
        assert authorize.reached.wait(10)
        assert client.nothing_for(0.3)
        authorize.released.set()
        assert client.sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert client.response().upload["size"] == len(body)


@pytest.mark.parametrize("fields", [{"Content-Length": str(1 << 30)}, CHUNKED])
def test_a_refusal_comes_unchanged_while_the_client_still_sends(
    world: World, fields: dict[str, str]
) -> None:
    refused = Said(403, b"not you\n", [("X-Why", "quota"), ("WWW-Authenticate", "Basic")])
    world.backend.authorize = lambda asked: refused
    before = world.objects()
    with world.site.client() as client:
        client.head("PUT", "/files/refused", fields)
        client.send(b"400\r\n" + b"x" * 1000)
        answer = client.response(5)
    assert (answer.status, answer.reason, answer.body) == (403, "Said", b"not you\n")
    assert (answer.headers["X-Why"], answer.headers["WWW-Authenticate"]) == ("quota", "Basic")
    assert answer.headers["Connection"] == "close"
    assert world.backend.reports("/files/refused") == []
    world.nothing_new(before)


def test_a_refusal_answers_expect_without_100(world: World) -> None:
    world.backend.authorize = lambda asked: Said(401, b"who?")
    with world.site.client() as client:
        client.head("PUT", "/files/401", {"Content-Length": "100", "Expect": "100-continue"})
        assert client.response(5).status == 401


def test_an_answer_that_is_no_permission_passes(world: World) -> None:
    world.backend.authorize = lambda asked: Said(200, b"{}", [("Content-Type", "text/json")])
    assert world.site.put("/files/passes", b"x").body == b"{}"
    world.backend.authorize = lambda asked: Said(302, b"", [("Location", "/login")])
    assert world.site.put("/files/passes", b"x").headers["Location"] == "/login"


def said(body: bytes) -> Said:
    return Said(200, body, [("Content-Type", PERMISSION_TYPE)])


BAD_PERMISSIONS = {
    "no JSON": said(b"{"),
    "no object": said(b"[]"),
    "an unknown field": permit(max_sise=5),
    "an unknown presigned field": permit(presigned={"put_ulr": "http://x/"}),
    "a wrong type": permit(max_size="5"),
    "an unknown hash": permit(hashes=["md4"]),
    "a short digest": permit(expected={"sha256": "abc"}),
    "a negative size": permit(max_size=-1),
    "a control character": permit(key="a\nb"),
    "a long id": said(b'{"id": "' + b"x" * 2049 + b'"}'),
    "a huge answer": said(b'{"id": "' + b"x" * (9 << 20) + b'"}'),
    "half an answer": Said(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "no HTTP": Said(raw=b"SMTP ready\r\n\r\n"),
    "a host we do not know": permit(presigned={"put_url": "http://169.254.169.254/x"}),
}


@pytest.mark.parametrize("name", BAD_PERMISSIONS)
def test_a_permission_that_cannot_be_followed_is_the_backends_fault(
    world: World, name: str
) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: BAD_PERMISSIONS[name]
    path = f"/signed/bad/{uuid.uuid4().hex}"
    answer = world.site.put(path, b"x" * 10)
    assert answer.status == 502
    assert answer.body.startswith(b"502 backend: ")
    line = world.site.line(path)
    assert (line["end"], line["status"]) == ("backend", 502)
    world.nothing_new(before)


def test_a_backend_that_hangs_up_or_says_nothing_is_named(world: World) -> None:
    def hang_up(asked: Asked) -> Said:
        raise HangUp

    world.backend.authorize = hang_up
    assert world.site.put("/files/hangs-up", b"x").body == b"502 backend: backend-closed\n"
    sleeping = world.backend.authorize = Withheld(permit())
    assert world.site.put("/files/sleeps", b"x").body == b"504 backend: backend-timeout\n"
    sleeping.released.set()


@pytest.mark.parametrize(
    "key", ["../out", "/etc/x", "a/../../b", "a//b", ".fastproxy-tmp/x", "a/.", "n\0l"]
)
def test_a_key_that_leads_out_of_the_store_is_refused(world: World, key: str) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: permit(key=key)
    assert world.site.put("/files/escape", b"x").status == 502
    world.nothing_new(before)


# -- limits and digests ----------------------------------------------------------------------------


def test_a_declared_length_over_the_limit_is_refused_unread_and_unasked(world: World) -> None:
    with world.site.client() as client:
        client.head("PUT", "/small/declared", {"Content-Length": str(MIB + 1)})
        assert client.response(5).status == 413
    assert world.backend.seen == []


def test_the_backends_limit_counts_too(world: World) -> None:
    world.backend.authorize = lambda asked: permit(max_size=1000)
    with world.site.client() as client:
        client.head("PUT", "/files/declared", {"Content-Length": "1001"})
        assert client.response(5).status == 413
    assert world.site.put("/files/fits", b"x" * 1000).status == 201
    before = world.objects()
    with world.site.client() as client:
        client.head("PUT", "/files/chunked", CHUNKED)
        client.send(b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        assert client.response(5).status == 413
    world.nothing_new(before)


def test_chunks_over_the_limit_end_a_multipart_upload(world: World) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: permit(max_size=12 * MIB, part_size=PART)
    body = body_of(13 * MIB)
    with world.site.client() as client:
        client.head("PUT", "/s3/too-long", CHUNKED)
        client.send(b"%x\r\n" % len(body))
        client.send(body)
        assert client.response(10).status == 413
    world.nothing_new(before)


@pytest.mark.parametrize("route", ["s3", "live", "files"])
@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_a_body_without_its_expected_digest_is_not_kept(
    world: World, route: str, size: int
) -> None:
    before = world.objects()
    body = body_of(size)
    world.backend.authorize = lambda asked: permit(expected={"sha256": "0" * 64})
    answer = world.site.put(f"/{route}/digest", body)
    assert (answer.status, answer.body) == (422, b"422 client: digest-mismatch\n")
    world.nothing_new(before)
    assert world.backend.reports(f"/{route}/digest") == []
    good = hashlib.sha256(body).hexdigest()
    world.backend.authorize = lambda asked: permit(expected={"sha256": good}, id="nr 5")
    told = world.site.put(f"/{route}/digest", body).upload
    assert (told["hashes"], told["id"]) == ({"sha256": good}, "nr 5")


def test_delete_after_removes_what_was_accepted(world: World) -> None:
    there: list[bool] = []

    def report(asked: Asked) -> Said:
        there.append(Path(asked.upload["path"]).read_bytes() == b"short-lived")
        return Said(200, b"done")

    world.backend.report = report
    before = world.objects()
    assert world.site.put("/gone/soon", b"short-lived").body == b"done"
    assert there == [True]
    world.nothing_new(before)


def test_a_permission_decides_whether_its_object_goes(world: World) -> None:
    world.backend.authorize = lambda asked: permit(key="kept", delete_after=False)
    assert world.site.put("/gone/kept", b"abc").upload["key"] == "kept"
    world.site.at_rest()
    assert "kept" in world.site.objects()
    world.backend.authorize = lambda asked: permit(key="kept", delete_after=True)
    assert world.site.put("/files/kept", b"abc").status == 201
    world.site.at_rest()
    assert "kept" not in world.site.objects()


def test_a_permission_may_name_another_store_of_its_route(world: World) -> None:
    world.backend.authorize = lambda asked: permit(key="named/1", store="objects")
    told = world.site.put("/files/named", b"abc").upload
    assert (told["store"], told["path"]) == ("objects", "")
    assert world.bucket.read("named/1") == b"abc"


def test_a_permission_may_not_name_a_store_of_other_routes(world: World) -> None:
    before = world.objects()
    for store in ("objects", "nowhere"):
        world.backend.authorize = lambda asked, store=store: permit(store=store)
        path = f"/gone/{store}"
        assert world.site.put(path, b"abc").status == 502
        assert world.site.line(path)["error_kind"] == "bad-authorize-answer"
    world.nothing_new(before)


# -- presigned URLs --------------------------------------------------------------------------------


@dataclass
class Signed:
    """URLs that a backend signs with boto3."""

    world: World
    key: str
    upload_id: str = ""

    def url(self, operation: str, expires: int = 600, **more: Any) -> str:
        parameters = {"Bucket": self.world.bucket.name, "Key": self.key, **more}
        url: str = self.world.bucket.client.generate_presigned_url(
            operation, Params=parameters, ExpiresIn=expires
        )
        return url

    def single(self, expires: int = 600) -> dict[str, Any]:
        return {
            "put_url": self.url("put_object", expires),
            "get_url": self.url("get_object"),
            "delete_url": self.url("delete_object"),
        }

    def multipart(self, count: int, expires: int = 600) -> dict[str, Any]:
        begun = self.world.bucket.client.create_multipart_upload(
            Bucket=self.world.bucket.name, Key=self.key
        )
        of = {"UploadId": begun["UploadId"]}
        parts = [self.url("upload_part", expires, PartNumber=n + 1, **of) for n in range(count)]
        return {
            "part_size": PART,
            "part_urls": parts,
            "complete_url": self.url("complete_multipart_upload", **of),
            "abort_url": self.url("abort_multipart_upload", **of),
            "get_url": self.url("get_object"),
            "delete_url": self.url("delete_object"),
        }


@pytest.fixture
def signed(world: World) -> Signed:
    return Signed(world, f"signed/{uuid.uuid4().hex}")


@pytest.mark.parametrize("size", [0, 1, PART + 1, 12 * MIB])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_one_signed_put(world: World, signed: Signed, size: int, is_chunked: bool) -> None:
    world.backend.authorize = lambda asked: permit(key=signed.key, presigned=signed.single())
    body = body_of(size)
    told = send(world, body, is_chunked)
    assert world.bucket.read(signed.key) == body
    assert (told["size"], told["store"], told["key"]) == (size, "", signed.key)
    assert "-" not in told["etag"]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART, 12 * MIB])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_signed_multipart_upload(
    world: World, signed: Signed, size: int, is_chunked: bool
) -> None:
    presigned = signed.multipart(3)
    world.backend.authorize = lambda asked: permit(key=signed.key, presigned=presigned)
    body = body_of(size)
    told = send(world, body, is_chunked)
    assert world.bucket.read(signed.key) == body
    assert told["size"] == size
    assert world.bucket.unfinished() == []


def send(world: World, body: bytes, is_chunked: bool) -> dict[str, Any]:
    with world.site.client() as client:
        fields = CHUNKED if is_chunked else {"Content-Length": str(len(body))}
        client.head("PUT", "/signed/upload", fields)
        if is_chunked:
            client.chunks(body, (65_536,))
        else:
            client.send(body)
        return client.response().upload


def test_a_refused_report_deletes_by_the_signed_url(world: World, signed: Signed) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(409, b"no")
    world.backend.authorize = lambda asked: permit(key=signed.key, presigned=signed.single())
    assert world.site.put("/signed/refused", b"x").status == 409
    presigned = signed.multipart(2)
    world.backend.authorize = lambda asked: permit(key=signed.key, presigned=presigned)
    assert world.site.put("/signed/refused", body_of(6 * MIB)).status == 409
    world.nothing_new(before)


@pytest.mark.parametrize("sent", [0, 100, 6 * MIB])
@pytest.mark.parametrize("fields", [{"Content-Length": str(12 * MIB)}, CHUNKED])
def test_a_signed_multipart_upload_is_aborted_when_the_client_leaves(
    world: World, signed: Signed, sent: int, fields: dict[str, str]
) -> None:
    before = world.objects()
    presigned = signed.multipart(3)
    world.backend.authorize = lambda asked: permit(key=signed.key, presigned=presigned)
    path = f"/signed/{uuid.uuid4().hex}"
    with world.site.client() as client:
        client.head("PUT", path, fields)
        if "Content-Length" not in fields:
            client.send(b"%x\r\n" % (12 * MIB))
        client.send(body_of(sent))
        eventually(lambda: world.backend.questions(path), "asked")
        client.reset()
    world.nothing_new(before)


def test_a_signed_multipart_upload_is_aborted_when_the_body_is_too_large(
    world: World, signed: Signed
) -> None:
    before = world.objects()
    presigned = signed.multipart(2)
    world.backend.authorize = lambda asked: permit(presigned=presigned)
    with world.site.client() as client:
        client.head("PUT", "/signed/declared", {"Content-Length": str(2 * PART + 1)})
        assert client.response(5).status == 413
    world.nothing_new(before)


def test_an_expired_url_is_the_stores_refusal(world: World, signed: Signed) -> None:
    before = world.objects()
    presigned = signed.single(expires=1)
    eventually(lambda: is_expired(presigned["put_url"]), "expired", within=5)
    world.backend.authorize = lambda asked: permit(presigned=presigned)
    answer = world.site.put("/signed/expired", b"x" * 1000)
    assert (answer.status, answer.body) == (502, b"502 storage: store-refused\n")
    world.nothing_new(before)


def is_expired(url: str) -> bool:
    """An independent look at the store's clock: it refuses a GET of the same signature's age."""
    try:
        request = urllib.request.Request(url, data=b"", method="PUT")
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False
