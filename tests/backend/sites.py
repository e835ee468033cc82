"""The applications of docs/backends.md, each under its server, all behind one fastproxy.

Each has a host name and a folder of its own, as the document says: `secret`, `uploads`, `files`.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from fastproxy.claims import Signer
from fastproxy.demo.children import Children
from fastproxy.demo.run import choose_port
from tests.backend.honest import SECRET, SIGNER, report_of
from tests.docs.shell import ROOT
from tests.support.waiting import eventually

DOCUMENT = (ROOT / "docs" / "backends.md").read_text("utf-8")
SECTIONS = {
    name: text
    for name, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    if "127.0.0.1:3000" in text or "--port 3000" in text
}
# The same under ASGI, as the document says.
SECTIONS["AsyncDjango"] = (
    SECTIONS["Django"]
    .replace("get_wsgi_application", "get_asgi_application")
    .replace("django.core.wsgi", "django.core.asgi")
    .replace("gunicorn --workers 2 --bind 127.0.0.1:3000", "uvicorn --port 3000 --lifespan off")
)
PROGRAMS = {
    "gunicorn": [sys.executable, "-m", "gunicorn"],
    "uvicorn": [sys.executable, "-m", "uvicorn"],
    "unicorn": ["unicorn"],
}
_HEAD = """\
[server]
listen = ["127.0.0.1:{port}"]
state_dir = "{home}/state"
[log]
access = "{home}/access.log"
error = "{home}/error.log"
[auth]
secret_file = "{home}/secret"
"""
_SITE = """\
[backend.{name}]
address = "http://127.0.0.1:{port}"
[store.{name}]
type = "local"
path = "{folder}/uploads"
[[route]]
action = "upload"
host = "{name}.test"
path = "/uploads/*"
backend = "{name}"
store = "{name}"
[[route]]
action = "form"
host = "{name}.test"
path = "/posts"
backend = "{name}"
store = "{name}"
[[route]]
action = "proxy"
host = "{name}.test"
path = "/**"
backend = "{name}"
"""


class Reply(NamedTuple):
    """An answer. `told`: what the example says of a file it took."""

    status: int
    body: bytes

    @property
    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Site:
    """One application. `port` is its own, `front` is fastproxy's."""

    name: str
    folder: Path
    port: int
    front: int

    def command(self) -> list[str]:
        """As the document has it, but for the port."""
        (line,) = re.findall(r"^```sh\n(.*)\n```$", SECTIONS[self.name], re.MULTILINE)
        program, *words = line.replace("3000", str(self.port)).split()
        words = [word.replace("contrib/", f"{ROOT}/contrib/") for word in words]
        # gunicorn keeps a socket in the user's home
        return ["env", f"HOME={self.folder}", *PROGRAMS[program], *words]

    def furnish(self) -> None:
        """Everything the document says is there."""
        for place in ("uploads", "files"):
            (self.folder / place).mkdir(parents=True)
        (self.folder / "secret").write_bytes(SECRET)
        for program in re.findall(
            r"^```python\n(.*?)^```$", SECTIONS[self.name], re.MULTILINE | re.DOTALL
        ):
            (self.folder / "app.py").write_text(program)

    def direct(
        self, target: str, body: bytes = b"", *, method: str = "PUT", **fields: str
    ) -> Reply:
        """Ask the application past fastproxy. `fields`: _ in a name is -."""
        return _ask(self.port, method, target, body, self._fields(fields))

    def through(
        self, target: str, body: object = b"", *, method: str = "PUT", **fields: str
    ) -> Reply:
        """Ask through fastproxy; a body that is an iterator is sent chunked."""
        return _ask(self.front, method, target, body, self._fields(fields))

    def _fields(self, fields: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return {"Host": f"{self.name.lower()}.test", "Cookie": "session=1", **named}

    def report(
        self, to: str = "/uploads/a", *, signer: Signer = SIGNER, **changes: object
    ) -> tuple[bytes, str]:
        """A signed report of a file that is there, in the store."""
        place = self.folder / "uploads" / "signed"
        place.write_bytes(b"abc")
        told = {"path": str(place), "hashes": {"sha256": "of the test"}, **changes}
        return report_of(to, signer=signer, **told)

    def files(self) -> list[Path]:
        """What the application has taken."""
        return sorted((self.folder / "files").iterdir())

    def stored(self) -> list[Path]:
        """What fastproxy has left in the store, but for its locks, which are empty."""
        files = (path for path in (self.folder / "uploads").rglob("*") if path.is_file())
        return [path for path in files if path.name != "signed" and path.stat().st_size]

    def is_up(self) -> bool:
        """Whether it answers, whatever."""
        return self.direct("/", method="GET").status > 0


def _ask(port: int, method: str, target: str, body: object, fields: dict[str, str]) -> Reply:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target, body, fields, encode_chunked=not isinstance(body, bytes))
        response = connection.getresponse()
        return Reply(response.status, response.read())
    finally:
        connection.close()


@contextmanager
def sites() -> Iterator[dict[str, Site]]:
    """All of them, up."""
    with tempfile.TemporaryDirectory(prefix="fp-") as path, ExitStack() as running:
        home, front = Path(path), choose_port(None)
        found = {name: Site(name, home / name, choose_port(None), front) for name in SECTIONS}
        for site in found.values():
            site.furnish()
            start(running, site.folder, site.command())
        (home / "secret").write_bytes(SECRET)
        (home / "secret").chmod(0o600)
        (home / "state").mkdir()
        rows = [
            _SITE.format(name=site.name.lower(), port=site.port, folder=site.folder)
            for site in found.values()
        ]
        (home / "fastproxy.toml").write_text(_HEAD.format(port=front, home=home) + "".join(rows))
        start(running, home, [sys.executable, "-m", "fastproxy", "serve"])
        for site in found.values():
            eventually(site.is_up, f"{site.name}: {log(site.folder)}")
        eventually(lambda: found["WSGI"].through("/", method="GET"), "fastproxy")
        yield found


def start(running: ExitStack, folder: Path, command: list[str]) -> None:
    children = Children(folder)
    running.callback(children.end)
    children.start(command[0], command, folder / "said.log")


def log(folder: Path) -> str:
    said = folder / "said.log"
    return said.read_text()[-2000:] if said.exists() else ""
