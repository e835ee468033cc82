"""docs/git.md: its configuration and its application, as printed, before the real git client."""

import base64
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from tests.docs.shell import blocks
from tests.support.git import commit, git, head_of, make_bare, make_tree
from tests.support.harness import proxy
from tests.support.monolith import Said, monolith

SERVING, SENDING = [block.text for block in blocks("toml") if block.document == "docs/git.md"]
(APPLICATION,) = [block.text for block in blocks("python") if block.document == "docs/git.md"]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def application(folder: Path, text: str, name: str = "application") -> Iterator[str]:
    """A program's, run in `folder`: its address."""
    names: dict[str, Any] = {}
    with chdir(folder):
        exec(text, names)
    with make_server("127.0.0.1", 0, names[name], handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_stranger_fetches_and_ann_pushes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"k" * 32)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "state").mkdir()
    tree = make_tree(tmp_path / "tree")
    bare = make_bare(tmp_path / "repositories/group/hello.git", tree)
    text = SERVING
    for name in ("state", "secret", "repositories"):
        text = text.replace(f'"{name}"', f'"{tmp_path / name}"')
    with (
        application(tmp_path, APPLICATION) as address,
        proxy(text.replace("127.0.0.1:3000", address)) as front,
    ):
        place = f"127.0.0.1:{front.port}/git/group/hello.git"
        git("clone", "--quiet", f"http://{place}", tmp_path / "copy")
        pushed = commit(tmp_path / "copy", "mine", b"mine\n")
        refused = git("push", "origin", "HEAD", cwd=tmp_path / "copy", check=False)
        assert "could not read Username" in refused
        git("push", "--quiet", f"http://ann:open%20sesame@{place}", "main", cwd=tmp_path / "copy")
        assert head_of(bare) == pushed
        assert front.get("/git/group/hello.git").body == b"nothing here\n"


def test_a_backend_orders_an_archive(tmp_path: Path) -> None:
    bare = make_bare(tmp_path / "repositories/hello.git", make_tree(tmp_path / "tree"))
    (tmp_path / "archives").mkdir()
    text = SENDING
    for name in ("repositories", "archives"):
        text = text.replace(f'"{name}"', f'"{tmp_path / name}"')
    order = {"repository": "hello.git", "commit": head_of(bare), "prefix": "hello/"}
    word = base64.urlsafe_b64encode(json.dumps(order).encode()).decode()
    with monolith(b"k" * 32) as backend:
        backend.otherwise = lambda asked: Said(
            200, b"", [("Fastproxy-Send", f"git-archive:{word}")]
        )
        place = backend.address.removeprefix("http://")
        with proxy(text.replace("127.0.0.1:3000", place)) as front:
            answers = [front.get("/download") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    with tarfile.open(fileobj=io.BytesIO(answers[1].body)) as archive:
        assert "hello/file0" in archive.getnames()
    assert len([path for path in (tmp_path / "archives").rglob("*") if path.is_file()]) == 1
