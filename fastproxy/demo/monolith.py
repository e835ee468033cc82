"""The application behind the demo: WSGI, synchronous, a few workers, as monoliths are.

GET  /                        a page
GET  /slow                    a page that takes a second
PUT  /uploads/NAME/authorize  fastproxy asks whether an upload may happen
PUT  /uploads/NAME            fastproxy reports an upload; there is no other way to send one
GET  /uploads/NAME            the uploaded file
"""

import base64
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from wsgiref.types import FileWrapper, StartResponse, WSGIEnvironment

from fastproxy.demo.verification import ReplayFolder, Untrusted, verify, verify_body

PERMISSION: Final = "application/vnd.fastproxy.authorize+json"
MAX_UPLOAD: Final = 10 << 30
_UPLOAD_PATH = re.compile(
    r"(?P<path>/uploads/(?P<name>\w[\w.-]{0,99}))(?P<asks>/authorize)?", re.ASCII
)


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


def make_app(home: str) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The WSGI application whose files are beneath `home`; gunicorn calls this."""
    monolith = Monolith(Path(home))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = monolith.answer(environ)
        except Untrusted as error:
            answer = text("403 Forbidden", f"403 not from fastproxy: {error}")
        headers = [("Content-Type", answer.content_type), *answer.more]
        if answer.length is not None:
            headers.append(("Content-Length", str(answer.length)))
        start_response(answer.status, headers)
        return answer.body

    return app


class Monolith:
    """The application's whole knowledge: a secret, and where its files are."""

    def __init__(self, home: Path) -> None:
        self._secret = base64.b64decode((home / "secret").read_bytes())
        self._store = home / "store"
        self._files = home / "files"
        self._files.mkdir(exist_ok=True)
        self._replays = ReplayFolder(home / "replays")

    def answer(self, environ: WSGIEnvironment) -> Answer:
        """The answer to one request. Raises Untrusted."""
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        method = environ["REQUEST_METHOD"]
        if path == "/":
            return text("200 OK", f"An ordinary page, from worker {os.getpid()}.")
        if path == "/slow":
            time.sleep(1)
            return text("200 OK", f"A page that took a second, from worker {os.getpid()}.")
        upload = _UPLOAD_PATH.fullmatch(path)
        if upload is None:
            return text("404 Not Found", "404 no such page; uploads go to /uploads/NAME")
        if method in ("GET", "HEAD"):
            return self._download(upload["name"], environ)
        if method not in ("PUT", "POST"):
            return text("405 Method Not Allowed", "405")
        request = method, upload["path"]
        if upload["asks"]:
            return self._authorize(environ, request, upload["name"])
        return self._take(environ, request)

    def _authorize(self, environ: WSGIEnvironment, request: tuple[str, str], name: str) -> Answer:
        token = environ.get("HTTP_FASTPROXY_AUTHORIZE", "")
        claims = verify(token, self._secret, "fastproxy-authorize", request, self._replays)
        # Here a real application looks at cookies and quotas, which the client's request brought.
        if (claims["length"] or 0) > MAX_UPLOAD:
            return text("413 Content Too Large", "413 too large for this application")
        permission = {
            "id": name,
            "key": f"incoming/{secrets.token_hex(8)}",
            "max_size": MAX_UPLOAD,
            "hashes": ["sha256"],
        }
        return whole("200 OK", json.dumps(permission).encode(), PERMISSION)

    def _take(self, environ: WSGIEnvironment, request: tuple[str, str]) -> Answer:
        started = time.monotonic()
        token = environ.get("HTTP_FASTPROXY_UPLOAD", "")
        claims = verify(token, self._secret, "fastproxy-upload", request, self._replays)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        verify_body(claims, body)
        # What was stored is read from the signed claims alone, never from parameters.
        told: dict[str, Any] = claims["upload"]
        place = self._files / told["id"]
        os.rename(self._stored_file(told["path"]), place)
        seen = {
            "told": told,
            "moved_to": str(place),
            "bytes_this_application_read": len(body),
            "seconds_this_application_was_busy": round(time.monotonic() - started, 6),
        }
        return whole("201 Created", json.dumps(seen, indent=2).encode() + b"\n", "application/json")

    def _stored_file(self, path: str) -> Path:
        """The file the report names. Raises Untrusted for one outside of the store."""
        file = Path(path).resolve()
        if not file.is_relative_to(self._store.resolve()) or not file.is_file():
            raise Untrusted("the report names no file of the store")
        return file

    def _download(self, name: str, environ: WSGIEnvironment) -> Answer:
        try:
            file = (self._files / name).open("rb")
        except FileNotFoundError:
            return text("404 Not Found", "404 nothing of that name was uploaded")
        size = os.fstat(file.fileno()).st_size
        wrapper: FileWrapper = environ["wsgi.file_wrapper"]
        return Answer("200 OK", wrapper(file), "application/octet-stream", size)
