"""What a backend orders to be sent out of a repository arrives, and nothing else does."""

import base64
import io
import json
import os
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.git_site import Forge, forged
from tests.flow.upload_site import Response
from tests.handlers.static.byteranges import parts_of
from tests.support.git import commit, git, head_of, noise
from tests.support.monolith import Said
from tests.support.waiting import eventually

LARGE = noise(3 << 20, 5)
CACHE_MIB = 8


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    home = tmp_path_factory.mktemp("sending")
    (home / "cache").mkdir()
    cache = {"archive_cache": str(home / "cache"), "archive_cache_size": f"{CACHE_MIB}MiB"}
    with forged(home, git=cache) as running:
        commit(running.tree, "docs/read me", b"hello\n")
        commit(running.tree, "large", LARGE)
        git("push", "--quiet", running.bare, "main", cwd=running.tree)
        yield running


def ordered(
    forge: Forge, kind: str, order: object, method: str = "GET", said: Any = (), **fields: str
) -> Response:
    """What a client gets when the backend gives this order, and says this of it."""
    text = base64.urlsafe_b64encode(json.dumps(order).encode()).decode()
    control = ("Fastproxy-Send", f"{kind}:{text}")
    forge.backend.otherwise = lambda asked: Said(200, b"", [control, *said])
    with forge.site.client() as client:
        client.head(method, "/git/hello.git/-/something", fields)
        if method == "HEAD":
            return head_response(client)
        return client.response()


def head_response(client: Any) -> Any:
    import http.client

    response = http.client.HTTPResponse(client.sock, method="HEAD")
    response.begin()
    return response


def oid(forge: Forge, name: str) -> str:
    return git("rev-parse", name, cwd=forge.bare).strip()


def test_a_blob_is_sent_with_its_length(forge: Forge) -> None:
    order = {"repository": "hello.git", "oid": oid(forge, "main:large")}
    answer = ordered(forge, "git-blob", order, said=[("Content-Disposition", "inline")])
    assert (answer.status, answer.body) == (200, LARGE)
    assert answer.headers["Content-Length"] == str(len(LARGE))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "inline"
    assert "Fastproxy-Send" not in answer.headers
    asked = ordered(forge, "git-blob", order, method="HEAD")
    assert (asked.status, asked.headers["Content-Length"]) == (200, str(len(LARGE)))


def test_an_empty_blob_is_sent(forge: Forge) -> None:
    made = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], input=b"", cwd=forge.bare, capture_output=True
    )
    order = {"repository": "hello.git", "oid": made.stdout.decode().strip()}
    answer = ordered(forge, "git-blob", order)
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_a_diff_is_what_git_says(forge: Forge) -> None:
    left, right = oid(forge, "main~2"), oid(forge, "main~1")
    answer = ordered(forge, "git-diff", {"repository": "hello.git", "left": left, "right": right})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body.decode() == git("diff", "--full-index", left, right, cwd=forge.bare)
    assert b"+hello" in answer.body
    nothing = {"repository": "hello.git", "left": left, "right": left}
    assert ordered(forge, "git-diff", nothing).body == b""


def test_patches_can_be_applied(forge: Forge, tmp_path: Path) -> None:
    left, right = oid(forge, "main~2"), oid(forge, "main")
    answer = ordered(forge, "git-patch", {"repository": "hello.git", "left": left, "right": right})
    (tmp_path / "both.patch").write_bytes(answer.body)
    git("clone", "--quiet", forge.bare, tmp_path / "copy")
    git("reset", "--quiet", "--hard", left, cwd=tmp_path / "copy")
    git("am", "--quiet", tmp_path / "both.patch", cwd=tmp_path / "copy")
    assert oid_of_tree(tmp_path / "copy") == oid_of_tree(forge.bare)


def oid_of_tree(repository: Path) -> str:
    return git("rev-parse", "HEAD^{tree}", cwd=repository)


def test_a_snapshot_is_a_repository_without_its_settings(forge: Forge, tmp_path: Path) -> None:
    answer = ordered(forge, "git-snapshot", {"repository": "hello.git"})
    assert answer.headers["Content-Type"] == "application/x-tar"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="snapshot.tar"'
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path / "copy.git", filter="data")
    assert not [name for name in names if "config" in name or "hooks" in name]
    (tmp_path / "copy.git/config").write_text("[core]\nbare = true\n")
    assert head_of(tmp_path / "copy.git") == head_of(forge.bare)
    git("fsck", "--strict", cwd=tmp_path / "copy.git")


def test_a_snapshot_is_whole_when_others_push_meanwhile(forge: Forge, tmp_path: Path) -> None:
    text = base64.urlsafe_b64encode(json.dumps({"repository": "hello.git"}).encode()).decode()
    control = ("Fastproxy-Send", f"git-snapshot:{text}")
    forge.backend.otherwise = lambda asked: Said(200, b"", [control])
    (tmp_path / "larger").write_bytes(noise(16 << 20, 6))
    git("hash-object", "-w", tmp_path / "larger", cwd=forge.bare)
    with forge.site.client() as client:
        client.head("GET", "/git/hello.git/-/snapshot", {})
        assert client.sock.recv(1, socket.MSG_PEEK) == b"H"
        eventually(lambda: is_reading(forge, "objects"), "tar is among the objects")
        (forge.bare / "objects/new").mkdir()
        answer = client.response()
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        archive.extractall(tmp_path / "copy.git", filter="data")
    (tmp_path / "copy.git/config").write_text("[core]\nbare = true\n")
    git("fsck", "--strict", cwd=tmp_path / "copy.git")


def is_reading(forge: Forge, part: str) -> bool:
    """Whether a program has something open that is called so."""
    return any(
        part in os.readlink(f"/proc/{program}/fd/{fd}")
        for program in forge.processes()
        for fd in os.listdir(f"/proc/{program}/fd")
    )


def archive_of(forge: Forge, **more: object) -> dict[str, object]:
    return {"repository": "hello.git", "commit": head_of(forge.bare), "prefix": "hello/", **more}


def contents(form: str, body: bytes) -> dict[str, bytes]:
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {m.name: archive.extractfile(m).read() for m in files}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("tar", "application/x-tar"),
        ("tar.gz", "application/gzip"),
        ("tar.bz2", "application/x-bzip2"),
        ("zip", "application/zip"),
    ],
)
def test_archives_of_every_format_hold_the_files(
    forge: Forge, form: str, content_type: str
) -> None:
    first = ordered(forge, "git-archive", archive_of(forge, format=form))
    assert first.headers["Content-Type"] == content_type
    assert first.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''hello.{form}"
    found = contents(form, first.body)
    assert found["hello/docs/read me"] == b"hello\n"
    assert found["hello/large"] == LARGE
    assert ordered(forge, "git-archive", archive_of(forge, format=form)).body == first.body


def test_an_archive_may_be_of_a_part(forge: Forge) -> None:
    answer = ordered(forge, "git-archive", archive_of(forge, path="docs", format="tar"))
    assert contents("tar", answer.body) == {"hello/docs/read me": b"hello\n"}


def test_what_is_excluded_or_elided_is_not_in_an_archive(forge: Forge) -> None:
    without = archive_of(forge, exclude=["large", "file0"], format="zip")
    assert contents("zip", ordered(forge, "git-archive", without).body).keys() == {
        "hello/file1",
        "hello/file2",
        "hello/docs/read me",
    }
    within = archive_of(forge, path="docs", elide=True, format="tar")
    answer = ordered(forge, "git-archive", within)
    assert contents("tar", answer.body) == {"hello/read me": b"hello\n"}


def lines_with(forge: Forge, text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in forge.site.errors().splitlines() if text in line]


def test_an_archive_with_pointers_for_files_is_sent_told_of_or_refused(forge: Forge) -> None:
    before = head_of(forge.bare)
    commit(forge.tree, "art/.gitattributes", b"*.psd filter=lfs diff=lfs merge=lfs -text\n")
    git("push", "--quiet", forge.bare, "main:refs/heads/lfs", cwd=forge.tree)
    declared = git("rev-parse", "main", cwd=forge.tree).strip()
    (forge.tree / "art/face.psd").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    git("-c", "filter.lfs.clean=cat", "add", "--all", cwd=forge.tree)
    git("commit", "--quiet", "--message", "Add a face", cwd=forge.tree)
    git("push", "--quiet", forge.bare, "main:refs/heads/lfs", cwd=forge.tree)
    latest = head_of(forge.bare, "refs/heads/lfs")
    wanted = archive_of(forge, commit=latest, exclude=["large"], format="zip")
    pointers = contents("zip", ordered(forge, "git-archive", wanted).body)
    assert pointers["hello/art/face.psd"].startswith(b"version ")
    assert "git LFS" not in forge.site.errors()
    warned = ordered(forge, "git-archive", {**wanted, "pointers": "warn"})
    assert contents("zip", warned.body) == pointers
    told = "holds pointers in place of its files of git LFS"
    (line,) = eventually(lambda: lines_with(forge, told), "a line in the log")
    request = line["request_id"]
    eventually(lambda: [1 for each in forge.site.lines() if each["request_id"] == request], "which")
    answer = ordered(forge, "git-archive", {**wanted, "pointers": "refuse"})
    assert (answer.status, answer.body) == (502, b"502 backend: bad-order\n")
    eventually(lambda: "git LFS are wanted" in forge.site.errors(), "a line in the log")
    without = {"exclude": ["large", "art/face.psd"]}
    for other in ({"commit": declared}, {"commit": before}, without):
        order = {**wanted, "pointers": "refuse", **other}
        assert ordered(forge, "git-archive", order).status == 200


def kept(forge: Forge) -> list[Path]:
    return [path for path in (forge.home / "cache").rglob("*") if path.is_file()]


def test_an_archive_is_made_once_and_then_a_file(forge: Forge) -> None:
    order = archive_of(forge, prefix="once/")
    others = set(kept(forge))
    first = ordered(forge, "git-archive", order)
    assert "ETag" not in first.headers
    eventually(lambda: set(kept(forge)) - others, "it is kept")
    before = {path.name for path in kept(forge)}
    second = ordered(forge, "git-archive", order)
    assert second.body == first.body
    assert second.headers["Accept-Ranges"] == "bytes"
    part = ordered(forge, "git-archive", order, Range="bytes=10-19")
    assert (part.status, part.body) == (206, first.body[10:20])
    parts = ordered(forge, "git-archive", order, Range="bytes=10-19,0-1")
    told = parts_of(parts.headers["Content-Type"], parts.body)
    assert [data for _, data in told] == [first.body[10:20], first.body[:2]]
    same = ordered(forge, "git-archive", order, **{"If-None-Match": second.headers["ETag"]})
    assert same.status == 304
    assert {path.name for path in kept(forge)} == before
    uncached = ordered(forge, "git-archive", {**order, "cache": False})
    assert "ETag" not in uncached.headers


def test_the_cache_keeps_its_size(forge: Forge) -> None:
    for number in range(4):
        ordered(forge, "git-archive", archive_of(forge, prefix=f"n{number}/"))
        # It is removed by a thread, after the answer is complete.
        eventually(lambda: total(forge) <= CACHE_MIB << 20, "within its size")
    assert 1 <= len(kept(forge)) <= 2
    latest = archive_of(forge, prefix="n3/")
    eventually(lambda: "ETag" in ordered(forge, "git-archive", latest).headers, "it is kept")


def total(forge: Forge) -> int:
    return sum(path.stat().st_size for path in kept(forge))


def test_half_an_archive_is_not_kept(forge: Forge) -> None:
    order = archive_of(forge, prefix="half/", format="tar")
    text = base64.urlsafe_b64encode(json.dumps(order).encode()).decode()
    control = ("Fastproxy-Send", f"git-archive:{text}")
    forge.backend.otherwise = lambda asked: Said(200, b"", [control])
    before = set(kept(forge))
    with forge.site.client() as client:
        client.head("GET", "/git/hello.git/-/half", {})
        assert client.sock.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: not forge.processes(), "no program")
    worker = f"/proc/{forge.site.workers[0]}/fd"
    eventually(
        lambda: not any("cache" in os.readlink(f"{worker}/{fd}") for fd in os.listdir(worker)),
        "no draft",
    )
    assert set(kept(forge)) == before


ABSENT = "0" * 39 + "1"


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("git-blob", {"repository": "hello.git", "oid": ABSENT}),
        ("git-blob", {"repository": "absent.git", "oid": ABSENT}),
        ("git-blob", {"repository": "../tree/.git", "oid": ABSENT}),
        ("git-diff", {"repository": "hello.git", "left": ABSENT, "right": ABSENT}),
        ("git-patch", {"repository": "hello.git", "left": ABSENT, "right": ABSENT}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT, "pointers": "refuse"}),
        ("git-snapshot", {"repository": "absent.git"}),
        ("git-snapshot", {"repository": "hello.git/objects"}),
    ],
)
def test_what_is_not_there_is_not_found(forge: Forge, kind: str, order: object) -> None:
    assert ordered(forge, kind, order).status == 404


@pytest.mark.parametrize(
    ("path", "elide"), [("nowhere", False), ("nowhere", True), ("large", True)]
)
def test_an_archive_of_a_part_that_is_not_there_is_not_found(
    forge: Forge, path: str, elide: bool
) -> None:
    order = archive_of(forge, path=path, elide=elide)
    assert ordered(forge, "git-archive", order).status == 404


def test_a_tree_is_no_blob(forge: Forge) -> None:
    order = {"repository": "hello.git", "oid": oid(forge, "main^{tree}")}
    assert ordered(forge, "git-blob", order).status == 404


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("git-blob", {"repository": "hello.git", "oid": "--batch-all-objects"}),
        ("git-blob", {"repository": "hello.git", "oid": "main:large"}),
        ("git-diff", {"repository": "hello.git", "left": "--output=/tmp/x", "right": ABSENT}),
        ("git-archive", {"repository": "hello.git", "commit": "--remote=."}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT, "format": "cpio"}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT, "prefix": "../"}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT, "path": "--output=x"}),
        ("git-archive", {"repository": "hello.git", "commit": ABSENT, "path": ":(top)x"}),
        ("git-archive", "nonsense"),
        ("git-other", {}),
    ],
)
def test_an_order_that_must_not_be_followed_is_the_backends_fault(
    forge: Forge, kind: str, order: object
) -> None:
    answer = ordered(forge, kind, order)
    assert (answer.status, answer.body) == (502, b"502 backend: bad-order\n")
