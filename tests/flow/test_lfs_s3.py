"""git LFS with its files in a bucket: the real client, and bodies that are not what is promised."""

import base64
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.git_site import Forge, forged
from tests.flow.upload_site import MIB, Response, body_of
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.git import commit, git, noise
from tests.support.monolith import Asked, Said, permit
from tests.support.waiting import eventually

BATCH = "application/vnd.git-lfs+json"
LARGE = 11 * MIB + 5  # three parts
SMALL = 70_000


@dataclass
class Lfs:
    """A forge whose large files are in a bucket. Everybody may do everything."""

    forge: Forge
    bucket: Bucket

    def __post_init__(self) -> None:
        self.forge.backend.authorize = self.authorize
        self.forge.backend.otherwise = self.otherwise

    def authorize(self, asked: Asked) -> Said:
        _, room, name, *rest = asked.path.removesuffix("/authorize").split("/")
        if room == "git":
            return permit(repository=name, allow=["fetch", "push"])
        return permit(key=f"lfs/{name}", size=int(rest[0]), expected={"sha256": name})

    def otherwise(self, asked: Asked) -> Said:
        """The batch, which says where files are; and a file, which is sent out of the bucket."""
        if asked.path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(asked.body)
            objects = [self._described(each, wanted["operation"]) for each in wanted["objects"]]
            answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
            return Said(200, answer, [("Content-Type", BATCH)])
        order = json.dumps({"key": f"lfs/{asked.path.split('/')[2]}", "store": "objects"}).encode()
        word = base64.urlsafe_b64encode(order).decode()
        return Said(200, b"", [("Fastproxy-Send", f"object:{word}")])

    def _described(self, wanted: dict[str, object], operation: str) -> dict[str, object]:
        href = f"http://127.0.0.1:{self.forge.site.port}/lfs/{wanted['oid']}/{wanted['size']}"
        return {**wanted, "authenticated": True, "actions": {operation: {"href": href}}}

    def put(self, oid: str, size: int, body: bytes, *, is_chunked: bool = False) -> Response:
        """An upload of `body` as the file `oid` of `size` bytes."""
        framing = {"Transfer-Encoding": "chunked"} if is_chunked else {}
        with self.forge.site.client() as client:
            client.head("PUT", f"/lfs/{oid}/{size}", framing or {"Content-Length": str(len(body))})
            if is_chunked:
                client.chunks(body, [65536])
            else:
                client.send(body)
            return client.response()

    def left(self) -> tuple[set[str], list[str], list[Path]]:
        """Objects; then what is nowhere when nothing runs: parts, and files of ours."""
        self.forge.site.forgotten()
        return set(self.bucket.keys()), self.bucket.unfinished(), self.forge.site.unfinished()


@pytest.fixture(scope="module")
def lfs(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Lfs]:
    home = tmp_path_factory.mktemp("lfs")
    bucket = Bucket(seaweed, "lfs")
    upload = {"action": "upload", "path": "/lfs/*/*", "methods": ["PUT"], "store": "objects"}
    with forged(
        home,
        to_backend={"send": {"git": True, "stores": ["objects"]}},
        store={"objects": bucket.table(home)},
        more_routes=[upload, {"action": "proxy"}],
    ) as forge:
        yield Lfs(forge, bucket)


def oid_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def lines_of(lfs: Lfs, oid: str, count: int) -> list[dict[str, Any]]:
    """What the log says of a file, once there are so many lines."""
    found = [line for line in lfs.forge.site.lines() if oid in line["path"]]
    return found if len(found) == count else []


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs")
def test_the_real_client_pushes_into_the_bucket_and_pulls_out_of_it(
    lfs: Lfs, tmp_path: Path
) -> None:
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    git("clone", "--quiet", lfs.forge.url(), tree)
    git("lfs", "install", "--local", cwd=tree)
    git("lfs", "track", "*.bin", cwd=tree)
    bodies = {"large.bin": noise(LARGE), "small.bin": noise(SMALL)}
    for name, body in bodies.items():
        commit(tree, name, body)
    git("push", "--quiet", "origin", "main", cwd=tree)
    assert {f"lfs/{oid_of(body)}" for body in bodies.values()} <= set(lfs.bucket.keys())
    git("clone", "--quiet", lfs.forge.url(), copy)
    assert (copy / "large.bin").stat().st_size < 1000  # a pointer
    git("lfs", "install", "--local", cwd=copy)
    git("lfs", "pull", cwd=copy)
    assert {name: (copy / name).read_bytes() for name in bodies} == bodies


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_not_what_its_name_says_is_refused_and_nothing_is_left(
    lfs: Lfs, size: int, is_chunked: bool
) -> None:
    good = body_of(size) + uuid.uuid4().bytes
    oid, length = oid_of(good), len(good)
    before = lfs.left()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    wrong = [
        (length, bad, 422, "digest-mismatch"),
        (length + 1, good, 422, "size-mismatch"),
        (length - 1, good, *((413, "body-too-large") if is_chunked else (422, "size-mismatch"))),
    ]
    for claimed, body, status, kind in wrong:
        answer = lfs.put(oid, claimed, body, is_chunked=is_chunked)
        assert (answer.status, answer.body) == (status, f"{status} client: {kind}\n".encode())
    assert lfs.left() == before
    told = eventually(lambda: lines_of(lfs, oid, len(wrong)), "a line for each")
    assert {line["end"] for line in told} == {"client"}
    assert [line["status"] for line in told] == [status for _, _, status, _ in wrong]
    assert [line["error_kind"] for line in told] == [kind for _, _, _, kind in wrong]
    assert not lfs.forge.backend.reports(f"/lfs/{oid}/{length}")
    assert lfs.put(oid, length, good, is_chunked=is_chunked).status == 201
    assert lfs.bucket.read(f"lfs/{oid}") == good
