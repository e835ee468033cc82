"""The application behind the demo: WSGI, synchronous, a few workers, as monoliths are.

GET  /                        a page; for browsers one from which to upload a file
GET  /slow                    a page that takes a second
PUT  /uploads/NAME/authorize  fastproxy asks whether an upload may happen
PUT  /uploads/NAME            fastproxy reports an upload; there is no other way to send one
GET  /uploads/NAME            the uploaded file
"""

import json
import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from wsgiref.types import FileWrapper, StartResponse, WSGIApplication, WSGIEnvironment

from fastproxy.backend import (
    Ask,
    FolderReplays,
    Guard,
    Permission,
    UploadedFile,
    UploadRoute,
    read_secret,
)
from fastproxy.backend.wsgi import UploadMiddleware, uploaded, whole_path

MAX_UPLOAD: Final = 10 << 30
_UPLOAD_PATH: Final = re.compile(r"/uploads/\w[\w.-]{0,99}", re.ASCII)
_STARTED: Final = "demo.started"
_PAGE: Final = Path(__file__).with_name("page.html")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `body` of many pieces is a file that is being sent."""

    status: str
    body: Iterable[bytes]
    content_type: str = "text/plain; charset=utf-8"
    length: int | None = None
    more: list[tuple[str, str]] = field(default_factory=list)


def text(status: str, line: str) -> Answer:
    """One line of text."""
    return whole(status, line.encode() + b"\n", "text/plain; charset=utf-8")


def whole(status: str, body: bytes, content_type: str) -> Answer:
    """A body of known length."""
    return Answer(status, [body], content_type, len(body))


def make_app(home: str) -> WSGIApplication:
    """The WSGI application whose files are beneath `home`; gunicorn calls this."""
    monolith = Monolith(Path(home))
    guard = Guard(read_secret(Path(home) / "secret"), FolderReplays(Path(home) / "replays"))
    guarded = UploadMiddleware(
        monolith.serve, guard, [UploadRoute(_UPLOAD_PATH, allow, max_size=MAX_UPLOAD)]
    )

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_STARTED] = time.monotonic()
        return guarded(environ, start_response)

    return app


def allow(ask: Ask, environ: WSGIEnvironment) -> Permission:
    """fastproxy asks whether an upload may happen.

    Here a real application looks at cookies and quotas, which the client's request brought.
    """
    key = f"incoming/{secrets.token_hex(8)}"
    return Permission(id=ask.name, key=key, max_size=MAX_UPLOAD, hashes=["sha256"])


class Monolith:
    """The application's whole knowledge: where its files are."""

    def __init__(self, home: Path) -> None:
        self._store = home / "store"
        self._files = home / "files"
        self._files.mkdir(exist_ok=True)

    def serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application behind the middleware."""
        answer = self._answer(environ)
        headers = [("Content-Type", answer.content_type), *answer.more]
        if answer.length is not None:
            headers.append(("Content-Length", str(answer.length)))
        start_response(answer.status, headers)
        return answer.body

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        """The answer to one request. Raises Refused."""
        path, method = whole_path(environ), environ["REQUEST_METHOD"]
        if path == "/" and "text/html" in environ.get("HTTP_ACCEPT", ""):
            return whole("200 OK", _PAGE.read_bytes(), "text/html; charset=utf-8")
        if path == "/":
            return text("200 OK", f"An ordinary page, from worker {os.getpid()}.")
        if path == "/slow":
            time.sleep(1)
            return text("200 OK", f"A page that took a second, from worker {os.getpid()}.")
        if _UPLOAD_PATH.fullmatch(path) is None:
            return text("404 Not Found", "404 no such page; uploads go to /uploads/NAME")
        if method in ("GET", "HEAD"):
            return self._download(path.rpartition("/")[2], environ)
        if method not in ("PUT", "POST"):
            return text("405 Method Not Allowed", "405")
        return self._take(environ, uploaded(environ))

    def _take(self, environ: WSGIEnvironment, file: UploadedFile) -> Answer:
        place = self._files / file.id
        os.rename(file.within(self._store), place)
        seen = {
            "told": {**asdict(file), "path": str(file.path)},
            "moved_to": str(place),
            "bytes_this_application_read": int(environ["CONTENT_LENGTH"]),
            "seconds_this_application_was_busy": round(time.monotonic() - environ[_STARTED], 6),
        }
        return whole("201 Created", json.dumps(seen, indent=2).encode() + b"\n", "application/json")

    def _download(self, name: str, environ: WSGIEnvironment) -> Answer:
        try:
            file = (self._files / name).open("rb")
        except FileNotFoundError:
            return text("404 Not Found", "404 nothing of that name was uploaded")
        size = os.fstat(file.fileno()).st_size
        wrapper: FileWrapper = environ["wsgi.file_wrapper"]
        return Answer("200 OK", wrapper(file), "application/octet-stream", size)
