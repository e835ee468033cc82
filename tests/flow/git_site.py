"""A fastproxy before git repositories, and the backend that says who may do what with them."""

import base64
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.flow.upload_site import SECRET, Client, Site, running
from tests.service.running import children
from tests.support.git import git as run_git
from tests.support.git import make_bare, make_tree
from tests.support.monolith import Asked, Monolith, Said, monolith, permit

CHALLENGE = ("www-Authenticate", 'Basic realm="The Forge"')  # unchanged means: its spelling, too

FLUSH = b"0000"


def line(text: str) -> bytes:
    """A pkt-line."""
    return f"{len(text) + 4:04x}{text}".encode()


def everybody(asked: Asked) -> Said:
    """Everybody may fetch; only ann with her password may push."""
    path = asked.path.removeprefix("/git/").removesuffix("/authorize")
    name = path.partition(".git/")[0] + ".git"
    is_push = path.endswith("git-receive-pack") or "service=git-receive-pack" in asked.target
    if not is_push:
        return permit(repository=name, allow=["fetch"])
    word = base64.b64encode(b"ann:s3cr3t").decode()
    if asked.field("Authorization") != f"Basic {word}":
        return Said(401, b"who are you?\n", [CHALLENGE, ("Content-Type", "text/plain")])
    return permit(repository=name, allow=["push"], user="ann")


class Forge:
    """The site, the backend, and a repository `hello.git` of which `tree` is the source."""

    def __init__(self, home: Path, backend: Monolith, site: Site) -> None:
        self.home = home
        self.backend = backend
        self.site = site
        self.root = home / "repositories"
        self.tree = make_tree(home / "tree")
        self.bare = make_bare(self.root / "hello.git", self.tree)
        backend.authorize = everybody

    def url(self, name: str = "hello.git", user: str = "") -> str:
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.site.port}/git/{name}"

    @property
    def ann(self) -> str:
        """The repository's URL for who may push."""
        return self.url(user="ann:s3cr3t")

    def processes(self) -> list[int]:
        """What the workers run."""
        return [child for worker in self.site.workers for child in children(worker)]


@contextmanager
def forged(
    home: Path,
    git: dict[str, Any] | None = None,
    route_keys: dict[str, Any] | None = None,
    to_backend: dict[str, Any] | None = None,
    more_routes: Sequence[dict[str, Any]] = (),
    **tables: Any,
) -> Iterator[Forge]:
    """Running; nothing of git is left when the block ends."""
    (home / "repositories").mkdir(parents=True, exist_ok=True)
    with monolith(SECRET) as backend:
        site = Site(
            home / "site",
            backend,
            git={"root": str(home / "repositories"), **(git or {})},
            route=[
                {"action": "git", "path": "/git/**", "name": "git", **(route_keys or {})},
                *more_routes,
            ],
            to_backend={"send": {"git": True}, **(to_backend or {})},
            **tables,
        )
        with running(site):
            yield Forge(home, backend, site)


def wanting(forge: Forge) -> bytes:
    """The question of a whole clone."""
    wanted = run_git("rev-parse", "HEAD", cwd=forge.bare).strip()
    return line(f"want {wanted} ofs-delta side-band-64k no-progress\n") + FLUSH + line("done\n")


def begin_fetch(forge: Forge, body: bytes) -> Client:
    """A fetch whose answer nobody reads yet."""
    client = forge.site.client()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    fields = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Length": str(len(body)),
    }
    client.head("POST", "/git/hello.git/git-upload-pack", fields)
    client.send(body)
    return client
