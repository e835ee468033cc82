"""docs/lfs.md: its configuration and its application, as printed, before the real client."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.shell import blocks
from tests.docs.test_git import application
from tests.support.client import Reply
from tests.support.git import commit, git, noise
from tests.support.harness import Proxy, proxy
from tests.support.waiting import eventually

(CONFIGURATION,) = [block.text for block in blocks("toml") if block.document == "docs/lfs.md"]
(APPLICATION,) = [block.text for block in blocks("python") if block.document == "docs/lfs.md"]
# Who may push and fetch refs is the affair of docs/git.md; here everybody may.
PERMITTING = """
import base64, json

def permitting(environ, start_response):
    path, token = environ["PATH_INFO"], environ.get("HTTP_FASTPROXY_AUTHORIZE")
    if token and ".git/" in path:
        name = path[1:].partition(".git/")[0] + ".git"
        permission = {"repository": name, "allow": ["fetch", "push"]}
        kind = "application/vnd.fastproxy.authorize+json"
        start_response("200 OK", [("Content-Type", kind)])
        return [json.dumps(permission).encode()]
    return app(environ, start_response)
"""
BODY = noise(3_000_000, 11)
OID = hashlib.sha256(BODY).hexdigest()


class Lfs:
    def __init__(self, home: Path, front: Proxy) -> None:
        self.home = home
        self.front = front
        self.store = home / "srv/lfs"

    def stored(self) -> set[str]:
        """What is in the store, finished or not."""
        found = (path for path in self.store.rglob("*") if path.is_file())
        return {path.name for path in found if path.name != "lock"}

    def put(self, body: bytes, oid: str, size: int, head: str = "") -> Reply:
        fields = head or f"Content-Length: {len(body)}\r\n"
        with self.front.client() as client:
            client.send(
                f"PUT /lfs/{oid}/{size} HTTP/1.1\r\nHost: lfs\r\n{fields}\r\n".encode() + body
            )
            return client.reply()


@pytest.fixture(scope="module")
def lfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lfs]:
    with running(tmp_path_factory.mktemp("lfs")) as found:
        yield found


@contextmanager
def running(home: Path) -> Iterator[Lfs]:
    (home / "secret").write_bytes(b"k" * 32)
    (home / "secret").chmod(0o600)
    text, program = CONFIGURATION, APPLICATION + PERMITTING
    for name in ("state", "repositories", "srv/lfs", "spent"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for name in ("/srv/lfs", "state", "secret", "repositories", "spent"):
        text = text.replace(f'"{name}"', f'"{home / name.lstrip("/")}"')
        program = program.replace(f'"{name}"', f'"{home / name.lstrip("/")}"')
    with (
        application(home, program, "permitting") as address,
        proxy(text.replace("127.0.0.1:3000", address)) as front,
    ):
        yield Lfs(home, front)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs")
def test_the_real_client_pushes_and_pulls(lfs: Lfs, tmp_path: Path) -> None:
    main = ("--quiet", "--initial-branch", "main")
    git("init", *main, "--bare", lfs.home / "repositories/big.git")
    url = f"http://127.0.0.1:{lfs.front.port}/big.git"
    tree = tmp_path / "tree"
    git("init", *main, tree)
    git("lfs", "install", "--local", cwd=tree)
    git("lfs", "track", "*.bin", cwd=tree)
    for number in range(3):
        commit(tree, f"{number}.bin", noise(1_000_000 * (number + 1), number))
    git("push", "--quiet", url, "main", cwd=tree)
    oids = {hashlib.sha256((tree / f"{n}.bin").read_bytes()).hexdigest() for n in range(3)}
    assert oids <= lfs.stored()
    copy = tmp_path / "copy"
    git("clone", "--quiet", url, copy)
    git("lfs", "install", "--local", cwd=copy)
    git("lfs", "pull", cwd=copy)
    for number in range(3):
        assert (copy / f"{number}.bin").read_bytes() == (tree / f"{number}.bin").read_bytes()
    again = git("push", url, "main:again", cwd=tree)
    assert "new branch" in again


def test_a_file_is_downloaded_in_parts(lfs: Lfs) -> None:
    assert lfs.put(BODY, OID, len(BODY)).status == 200
    part = lfs.front.get(f"/lfs/{OID}/{len(BODY)}", fields="Range: bytes=100-199\r\n")
    assert (part.status, part.body) == (206, BODY[100:200])


CHUNKED = "Transfer-Encoding: chunked\r\n"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_a_body_that_is_not_what_its_name_says_leaves_nothing(lfs: Lfs) -> None:
    good = noise(2_000_000, 12)
    oid = hashlib.sha256(good).hexdigest()
    before = lfs.stored()
    bad = b"x" + good[1:]
    digest, size = b"422 client: digest-mismatch\n", b"422 client: size-mismatch\n"
    assert lfs.put(bad, oid, len(bad)).body == digest
    assert lfs.put(chunked(bad), oid, len(bad), CHUNKED).body == digest
    assert lfs.put(good, oid, len(good) + 1).body == size
    assert lfs.put(good, oid, len(good) - 1).body == size
    assert lfs.put(chunked(good), oid, len(good) + 1, CHUNKED).body == size
    assert lfs.put(chunked(good), oid, len(good) - 1, CHUNKED).status == 413
    assert lfs.put(b"", oid, len(good)).body == size
    # Who sends too much is answered before what it sent is removed.
    eventually(lambda: lfs.stored() == before, "nothing is left")
    assert lfs.put(good, oid, len(good)).status == 200
    assert lfs.stored() == before | {oid}


def test_an_empty_file_is_a_file(lfs: Lfs) -> None:
    oid = hashlib.sha256(b"").hexdigest()
    assert lfs.put(b"", oid, 0).status == 200
    assert oid in lfs.stored()
