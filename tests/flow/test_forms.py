"""Forms through a whole fastproxy: their files in the store, their fields with the backend."""

import email
import email.policy
import gzip
import hashlib
import io
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZIP_STORED

import httpx
import pytest

from tests.flow.upload_site import MIB, SECRET, Response, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import Act, Fault, FaultProxy, fault_proxy, refusal
from tests.support.monolith import Asked, HangUp, Monolith, Said, monolith, permit
from tests.support.waiting import eventually
from tests.uploads.test_scrub import jpeg, scrubbed, tiff
from tests.zips.archives import archive

B = "x-boundary-x"
KIND = {"Content-Type": f"multipart/form-data; boundary={B}"}
CHUNKED = {**KIND, "Transfer-Encoding": "chunked"}


@dataclass
class World(UploadWorld):
    storage: FaultProxy

    def post(self, path: str, body: bytes, cuts: tuple[int, ...] = (70_000,)) -> Response:
        """A form of unknown length, in chunks of these sizes."""
        with self.site.client() as client:
            client.head("POST", path, CHUNKED)
            client.chunks(body, cuts)
            return client.response()


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    home = tmp_path_factory.mktemp("forms")
    bucket = Bucket(seaweed, "forms")
    port = urlsplit(seaweed.endpoint).port or 0
    form = {"action": "form", "store": "objects", "hashes": ["sha256"]}
    with monolith(SECRET) as backend, fault_proxy("127.0.0.1", port) as storage:
        tuned = {"timeout": "1s", "attempts": 3}
        site = Site(
            home,
            backend,
            limits={"body_timeout": "2s"},
            to_backend={"header_timeout": "2s"},
            memory={"budget": "16MiB"},
            store={
                "objects": bucket.table(home, endpoint=storage.endpoint, **tuned),
                "steady": bucket.table(home),
                "files": {"type": "local", "path": str(home / "objects")},
            },
            route=[
                {**form, "path": "/each/**", "authorize_each": True},
                {
                    **form,
                    "path": "/photos/**",
                    "store": "files",
                    "scrub_images": True,
                    "refuse_images": ["tiff"],
                },
                {**form, "path": "/memory/**", "store": "steady"},
                {**form, "path": "/files/**", "store": "files", "max_size": "64MiB"},
                {**form, "path": "/small/**", "max_fields": 3, "max_fields_size": "1KiB"},
                {**form, "path": "/brief/**", "timeout": "1s"},
                {**form, "path": "/bad/**", "store": "files"},
                {
                    **form,
                    "path": "/zips/**",
                    "zip_members": 50,
                    "zip_metadata": "metadata",
                    "zip_metadata_store": "files",
                },
                {**form, "path": "/signed/**", "allowed_hosts": [f"127.0.0.1:{port}"]},
                {**form, "path": "/**"},
            ],
        )
        with running(site):
            yield World(site, backend, bucket, storage)
            site.at_rest()


@pytest.fixture
def world(whole_world: World) -> Iterator[World]:
    whole_world.backend.forget()
    yield whole_world
    whole_world.storage.expect()
    whole_world.site.at_rest()


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """(name, file name or none, data) of each part."""
    body = b""
    for name, filename, data in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += "" if filename is None else f'; filename="{filename}"\r\nContent-Type: image/png'
        body += f"--{B}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{B}--\r\n".encode()


@dataclass
class Told:
    """What the backend was told of a form: texts, and files by their field's name, verified."""

    texts: list[tuple[str, str]]
    files: list[dict[str, Any]]


def told(backend: Monolith, asked: Asked) -> Told:
    """Read as a backend would, with another parser than ours."""
    claims = backend.claims(asked.field("Fastproxy-Upload") or "", "fastproxy-form")
    assert (claims["method"], claims["path"]) == (asked.method, asked.path)
    assert claims["body_sha256"] == hashlib.sha256(asked.body).hexdigest()
    head = f"Content-Type: {asked.field('Content-Type')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + asked.body, policy=email.policy.HTTP)
    assert not message.defects
    texts, files = [], []
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        assert part.get_filename() is None
        value = part.get_payload(decode=True).decode()
        if name.endswith(".fastproxy-upload"):
            about = backend.claims(value, "fastproxy-file")
            assert name == f"{about['field']}.fastproxy-upload"
            files.append({**about["upload"], "field": about["field"], "name": about["name"]})
        else:
            texts.append((name, value))
    fields = {file["field"] for file in files}
    paths = {field: [one["path"] for one in files if one["field"] == field] for field in fields}
    assert claims["files"] == paths
    return Told(texts, files)


def only_told(world: World, path: str) -> Told:
    (report,) = world.backend.reports(path)
    return told(world.backend, report)


def test_files_go_to_the_store_and_fields_to_the_backend(world: World) -> None:
    world.backend.authorize = lambda asked: permit(id="42", key="in/a")
    large, small = body_of(11 * MIB + 5), b"\r\n--" + B.encode()[:-1]
    body = form(
        ("title", None, "süß".encode()),
        ("photo", "../a b.png", large),
        ("tag", None, b"one"),
        ("tag", None, b"two\r\nlines"),
        ("photo", "b.png", small),
        ("none", "", b""),
        ("empty", "empty.txt", b""),
    )
    answer = world.post("/posts?q=1", body)
    assert answer.status == 201
    found = only_told(world, "/posts")
    assert found.texts == [("title", "süß"), ("tag", "one"), ("tag", "two\r\nlines")]
    assert [(file["field"], file["name"], file["key"]) for file in found.files] == [
        ("photo", "a b.png", "in/a"),
        ("photo", "b.png", "in/a-2"),
        ("empty", "empty.txt", "in/a-3"),
    ]
    for file, data in zip(found.files, (large, small, b""), strict=True):
        assert world.bucket.read(file["key"]) == data
        assert file["size"] == len(data)
        assert file["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
        assert (file["content_type"], file["id"]) == ("image/png", "42")
    line = world.site.line("/posts")
    assert (line["upload_bytes"], line["status"]) == (len(large) + len(small), 201)


@pytest.mark.parametrize("cuts", [(1, 2, 3), (17,), (4096, 1), (65_536,)])
def test_any_chunks_make_the_same_form(world: World, cuts: tuple[int, ...]) -> None:
    data = body_of(40_000) + b"\r\n--" + B.encode()[:5] + b"\r" * 9
    body = form(("a", None, b"1"), ("f", "f", data), ("f", "g", data[::-1]), ("b", None, b"2"))
    path = f"/files/cut{sum(cuts)}"
    assert world.post(path, body, cuts).status == 201
    found = only_told(world, path)
    assert found.texts == [("a", "1"), ("b", "2")]
    assert [Path(file["path"]).read_bytes() for file in found.files] == [data, data[::-1]]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("how", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]])
def test_curl_sends_a_form(world: World, tmp_path: Path, how: list[str]) -> None:
    data = body_of(3 * MIB)
    (tmp_path / 'we"ird;name.bin').write_bytes(data)
    url = f"http://127.0.0.1:{world.site.port}/files/curl"
    weird = str(tmp_path / 'we"ird;name.bin').replace('"', r"\"")
    what = ["-F", "title=a title", "-F", f'file=@"{weird}"']
    done = subprocess.run(
        ["curl", "-sS", "-w", "%{http_code}", "-o", "-", *how, *what, url],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.endswith(b"201"), done
    found = only_told(world, "/files/curl")
    assert found.texts == [("title", "a title")]
    (file,) = found.files
    assert Path(file["path"]).read_bytes() == data
    assert file["name"] in ('we"ird;name.bin', "we%22ird;name.bin")  # as old and new ones quote


def test_httpx_sends_a_form_whose_length_it_does_not_know(world: World) -> None:
    data = body_of(2 * MIB)
    url = f"http://127.0.0.1:{world.site.port}/files/httpx"
    request = httpx.Request("POST", url, data={"ü": "1"}, files={"f": ("ü.txt", data)})
    whole = request.read()
    pieces = (whole[at : at + 50_000] for at in range(0, len(whole), 50_000))
    kind = {"Content-Type": request.headers["Content-Type"]}
    assert httpx.post(url, content=pieces, headers=kind).status_code == 201
    found = only_told(world, "/files/httpx")
    assert found.texts == [("ü", "1")]
    assert found.files[0]["name"] == "ü.txt"


@pytest.mark.parametrize("cuts", [(7,), (65_537,)])
def test_photos_in_a_form_are_stored_without_what_they_tell(
    world: World, cuts: tuple[int, ...]
) -> None:
    """Each begins anew: what was learnt of one is nothing to the next."""
    photos = [jpeg(size=(300, 200)), jpeg(size=(1500, 1000), quality=95), b"no photo"]
    path = f"/photos/{len(cuts)}{cuts[0]}"
    body = form(*((f"p{number}", "a.jpg", photo) for number, photo in enumerate(photos)))
    assert world.post(path, body, cuts).status == 201
    stored = [Path(file["path"]).read_bytes() for file in only_told(world, path).files]
    assert stored == [scrubbed(photos[0]), scrubbed(photos[1]), b"no photo"]
    assert stored[0] != photos[0]


def test_an_image_that_cannot_be_scrubbed_takes_the_others_along(world: World) -> None:
    before = world.objects()
    body = form(("a", "a.jpg", jpeg()), ("b", "b.jpg", tiff()))
    assert world.post("/photos/tiff", body, (7,)).body == b"415 client: unscrubbed-image\n"
    world.nothing_new(before)


def test_the_backend_is_asked_for_each_file(world: World) -> None:
    def authorize(asked: Asked) -> Said:
        token = asked.field("Fastproxy-Authorize") or ""
        claims = world.backend.claims(token, "fastproxy-authorize")
        assert claims["content_type"] == "image/png"
        return permit(key=f"{claims['field']}/{claims['filename']}")

    world.backend.authorize = authorize
    small = body_of(MIB)
    body = form(("a", "1", small), ("t", None, b"x"), ("b", "2", b"3"), ("b", "4", small))
    assert world.post("/each/one", body).status == 201
    keys = [file["key"] for file in only_told(world, "/each/one").files]
    assert keys == ["a/1", "b/2-2", "b/4-3"]
    assert world.bucket.read("b/4-3") == small


def test_a_file_that_is_refused_takes_the_others_along(world: World) -> None:
    before = world.objects()
    answers = iter([permit(), Said(403, b"not this one")])
    world.backend.authorize = lambda asked: next(answers)
    answer = world.post("/each/two", form(("a", "1", body_of(MIB)), ("b", "2", b"3")))
    assert (answer.status, answer.body) == (403, b"not this one")
    assert not world.backend.reports("/each/two")
    world.nothing_new(before)


def test_a_refusal_comes_before_the_body(world: World) -> None:
    world.backend.authorize = lambda asked: Said(401, b"log in")
    with world.site.client() as client:
        client.head("POST", "/refused", {**CHUNKED, "Expect": "100-continue"})
        answer = client.response()
    assert (answer.status, answer.body) == (401, b"log in")


def test_a_form_without_files_is_a_form(world: World) -> None:
    assert world.post("/none", form(("a", None, b"1"))).status == 201
    assert only_told(world, "/none") == Told([("a", "1")], [])


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        ("GET", {}, b""),
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1"),
        ("POST", {"Content-Type": "application/json"}, b"{}"),
        ("POST", KIND, b""),
    ],
)
def test_what_is_no_form_is_proxied(
    world: World, method: str, fields: dict[str, str], body: bytes
) -> None:
    with world.site.client() as client:
        client.head(method, "/plain", {**fields, "Content-Length": str(len(body))})
        client.send(body)
        client.response()
    (asked,) = world.backend.about("/plain")
    assert (asked.method, asked.body, asked.is_report) == (method, body, False)


BAD = {
    "no end": (400, "bad-form", form(("a", "f", b"1"), ("b", None, b""))[:-6]),
    "within a head": (400, "bad-form", form(("a", "f", b"1"), ("b", None, b""))[:-60]),
    "an own name": (400, "bad-form", form(("f", "f", b"1"), ("f.fastproxy-upload", None, b"1"))),
    "an own name, shouted": (400, "bad-form", form(("f.FASTPROXY-upload", None, b"1"))),
    "LF only": (400, "bad-form", form(("a", "f", b"1")).replace(b"\r", b"")),
    "bytes of no file": (400, "bad-form", form(("f", "f", b"1"), ("g", "", b"1"))),
    "many files": (413, "form-too-large", form(*[("f", "f", b"1")] * 11)),
    "many fields": (413, "form-too-large", form(("f", "f", b"1"), *[("a", None, b"")] * 1001)),
    "many files not chosen": (413, "form-too-large", form(*[("f", "", b"")] * 1001)),
    "long fields": (413, "form-too-large", form(("f", "f", b"1"), ("a", None, b"x" * 2 * MIB))),
    "long head": (413, "form-too-large", form(("f", "f", b"1"), ("a" * 9000, None, b""))),
}


@pytest.mark.parametrize(("status", "kind", "body"), BAD.values(), ids=BAD)
def test_a_bad_form_leaves_nothing(world: World, status: int, kind: str, body: bytes) -> None:
    before = world.objects()
    for cuts in ((100_000,), (1 + len(body) // 7,)):
        answer = world.post("/bad/form", body, cuts)
        assert (answer.status, answer.body) == (status, f"{status} client: {kind}\n".encode())
    assert not world.backend.reports("/bad/form")
    world.nothing_new(before)


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Type": "multipart/mixed; boundary=a"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": 'multipart/form-data; boundary="a"; boundary="b"'},
        {**KIND, "Content-Encoding": "gzip"},
        {"Content-Type": "text/plain", "content-type": KIND["Content-Type"]},
    ],
)
def test_multipart_that_is_no_plain_form_is_refused(world: World, fields: dict[str, str]) -> None:
    with world.site.client() as client:
        client.head("POST", "/odd", {**fields, "Content-Length": "4"})
        client.send(b"--a\r")
        answer = client.response()
    assert (answer.status, answer.body) == (400, b"400 client: bad-form\n")
    assert not world.backend.about("/odd/authorize")


def test_limits_of_a_permission_are_for_each_file(world: World) -> None:
    before = world.objects()
    world.backend.authorize = lambda asked: permit(max_size=1000)
    fits = form(("a", "1", b"x" * 1000), ("b", "2", b"x" * 1000))
    assert world.post("/limit", fits).status == 201
    stored = [file["key"] for file in only_told(world, "/limit").files]
    answer = world.post("/limit", form(("a", "1", b"x"), ("b", "2", b"x" * 1001)))
    assert answer.body == b"413 client: body-too-large\n"
    world.nothing_new(before + stored)


def test_one_of_the_files_has_another_digest(world: World) -> None:
    before = world.objects()
    good = hashlib.sha256(b"good").hexdigest()
    world.backend.authorize = lambda asked: permit(expected={"sha256": good})
    answer = world.post("/digest", form(("a", "1", b"good"), ("b", "2", b"bad")))
    assert answer.status == 422
    world.nothing_new(before)


def test_a_form_whose_length_is_too_much_is_refused_at_once(world: World) -> None:
    with world.site.client() as client:
        client.head("POST", "/files/long", {**KIND, "Content-Length": str(65 * MIB)})
        assert client.response().status == 413
    assert not world.backend.about("/files/long/authorize")


@pytest.mark.parametrize("is_rude", [False, True])
@pytest.mark.parametrize("size", [10, MIB, 6 * MIB])
def test_a_client_that_leaves_leaves_nothing(world: World, size: int, is_rude: bool) -> None:
    before = world.objects()
    body = form(("a", "1", body_of(MIB)), ("t", None, b"x"), ("b", "2", body_of(6 * MIB)))
    with world.site.client() as client:
        client.head("POST", "/left", {**KIND, "Content-Length": str(len(body))})
        client.send(body[: MIB + size])
        if is_rude:
            client.reset()
    eventually(lambda: world.site.lines()[-1]["path"] == "/left", "a line")
    world.nothing_new(before)
    assert not world.backend.reports("/left")


def test_a_client_that_stops_is_too_slow(world: World) -> None:
    before = world.objects()
    with world.site.client() as idle, world.site.client() as late:
        for client, path in ((idle, "/slow"), (late, "/brief/slow")):
            client.head("POST", path, CHUNKED)
            client.send(b"40\r\n" + form(("a", "1", b"x"))[:64])
        assert late.response().body == b"408 client: too-slow\n"
        assert idle.response().body == b"408 client: too-slow\n"
    world.nothing_new(before)


def listed(metadata: bytes) -> list[bytes]:
    """The strings of GitLab's list."""
    file, strings = io.BytesIO(gzip.decompress(metadata)), []
    while length := file.read(4):
        strings.append(file.read(int.from_bytes(length, "big")))
    return strings


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_an_archive_is_told_with_what_is_in_it(world: World, size: int) -> None:
    content = archive({"out/a.txt": body_of(size), "log": b"1"}, method=ZIP_STORED)
    assert world.post("/zips/1", form(("file", "artifacts.zip", content))).status == 201
    file, metadata = only_told(world, "/zips/1").files
    assert world.bucket.read(file["key"]) == content
    assert (metadata["field"], metadata["name"]) == ("metadata", "metadata.gz")
    assert metadata["store"] == "files"
    data = Path(metadata["path"]).read_bytes()
    assert metadata["size"] == len(data)
    assert metadata["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert listed(data)[2::2] == [b"log", b"out/", b"out/a.txt"]


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", body_of(MIB), archive({f"{n}": b"" for n in range(51)})],
    ids=["empty", "text", "noise", "too many members"],
)
def test_what_is_no_archive_is_told_without(world: World, content: bytes) -> None:
    assert world.post("/zips/2", form(("file", "artifacts.zip", content))).status == 201
    (file,) = only_told(world, "/zips/2").files
    assert file["size"] == len(content)


def test_a_list_of_the_clients_own_is_refused(world: World) -> None:
    parts = ("file", "artifacts.zip", archive({"a": b"1"})), ("metadata", "metadata.gz", b"1")
    assert world.post("/zips/5", form(*parts)).body == b"400 client: bad-form\n"


def test_an_archive_that_cannot_be_read_back_is_told_without(world: World) -> None:
    content = archive({"a": b"1"}, comment=b"c" * 2000)
    fault = Fault(b"bytes=1", Act.ANSWER, times=9, answer=refusal(403, "No"))
    world.storage.expect(fault)
    assert world.post("/zips/3", form(("file", "artifacts.zip", content))).status == 201
    assert fault.met
    assert len(only_told(world, "/zips/3").files) == 1


def test_a_refused_report_removes_what_was_listed_too(world: World) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(422, b"no")
    answer = world.post("/zips/4", form(("file", "artifacts.zip", archive({"a": b"1"}))))
    assert answer.status == 422
    world.nothing_new(before)


@pytest.mark.parametrize("status", [307, 400, 500])
def test_a_refused_report_removes_every_file(world: World, status: int) -> None:
    before = world.objects()
    world.backend.report = lambda asked: Said(status, b"no")
    answer = world.post("/refuse", form(("a", "1", b"1"), ("b", "2", body_of(6 * MIB))))
    assert (answer.status, answer.body) == (status, b"no")
    world.nothing_new(before)


def test_an_unanswered_report_keeps_every_file(world: World) -> None:
    def hang_up(asked: Asked) -> Said:
        raise HangUp

    world.backend.report = hang_up
    before = world.objects()
    assert world.post("/unheard", form(("a", "1", b"1"), ("b", "2", b"2"))).status == 502
    world.site.at_rest()
    assert len(world.objects()) == len(before) + 2


@pytest.mark.parametrize(
    ("status", "when"),
    [(403, "/KEY?"), (403, "/KEY-2?uploads"), (403, "partNumber=2"), (403, "/KEY-2?uploadId="),
     (503, "partNumber=2")],
)  # fmt: skip
def test_a_store_that_fails_for_one_file_keeps_none(world: World, status: int, when: str) -> None:
    """Each has a key of its own, or it would meet what earlier ones left in doubt."""
    before = world.objects()
    key = uuid.uuid4().hex
    world.backend.authorize = lambda asked: permit(key=key)
    failing, times = when.replace("KEY", key).encode(), 1 if status == 403 else 9
    world.storage.expect(Fault(failing, Act.ANSWER, times=times, answer=refusal(status, "No")))
    answer = world.post("/store", form(("a", "1", b"1"), ("b", "2", body_of(6 * MIB))))
    assert answer.status == {403: 502, 503: 503}[status]
    assert b" storage: " in answer.body
    world.storage.expect()
    world.nothing_new(before)
    assert not world.backend.reports("/store")


def test_memory_that_is_short_slows_forms_and_loses_none(world: World) -> None:
    data = body_of(6 * MIB)

    def post(number: int) -> list[dict[str, Any]]:
        path = f"/memory/{number}"
        body = form(("a", "1", data), ("t", None, b"x"), ("b", "2", data[::-1]))
        assert world.post(path, body, (200_000,)).status == 201
        return only_told(world, path).files

    with ThreadPoolExecutor(5) as pool:
        for first, second in pool.map(post, range(5)):
            assert world.bucket.read(first["key"]) == data
            assert world.bucket.read(second["key"]) == data[::-1]
    world.site.at_rest()


def test_fields_of_all_forms_are_held_within_a_budget(world: World) -> None:
    """A sixteenth of 16 MiB: the forms that wait here hold it, and others must wait."""
    with ExitStack() as stack:
        for number in range(2):
            client = stack.enter_context(world.site.client())
            client.head("POST", f"/hold/{number}", CHUNKED)
            head = b'--%b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' % B.encode()
            data = head + b"x" * 520_000
            client.send(b"%x\r\n%b\r\n" % (len(data), data))
            eventually(lambda n=number: world.backend.questions(f"/hold/{n}"), "a question")
        full = form(("a", None, b"x" * 100_000))
        eventually(
            lambda: world.post("/full", full).body == b"503 ours: memory-short\n", "a full budget"
        )
    eventually(lambda: world.post("/full", full).status == 201, "a free budget")
