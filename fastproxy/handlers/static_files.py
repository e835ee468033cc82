"""Files beneath a directory, for GET and HEAD. Disks are read in threads, PIECE bytes at a time."""

import asyncio
import mimetypes
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from fastproxy.config.schema import StaticRoute
from fastproxy.errors import MethodNotAllowed, OwnFault
from fastproxy.exchange import Exchange
from fastproxy.handlers.beneath import Forbidden, IsDirectory, NotServed, RegularFile, open_beneath
from fastproxy.handlers.conditions import (
    Unsatisfiable,
    Validators,
    precondition_status,
    requested_range,
)
from fastproxy.handlers.coroutine import Dialogue, OnLeave, Tasks
from fastproxy.handlers.origin import TEXT, origin_head
from fastproxy.message import Headers, RequestHead

PIECE: Final = 256 * 1024

_SAFE_TYPE: Final = (b"X-Content-Type-Options", b"nosniff")
# What Python 3.11 does not know, or knows by an obsolete name.
_NEWER_TYPES: Final = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_ENCODED_TYPES: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}


@dataclass(slots=True)
class Answer:
    """A response: `length` bytes of `file` from `offset` on, or `text`."""

    status: int
    fields: Headers
    text: bytes = b""
    file: RegularFile | None = None
    offset: int = 0
    length: int = 0
    first: bytes = b""  # read already, in the same thread that opened the file


def make_static(route: StaticRoute, tasks: Tasks) -> Callable[[Exchange], None]:
    """A handler for one route, which raises MethodNotAllowed for other methods.

    Raises ValueError when `cache_control` is not a valid header.
    """
    files = StaticFiles(route)

    def serve(exchange: Exchange) -> None:
        if exchange.head.method not in (b"GET", b"HEAD"):
            raise MethodNotAllowed("files can only be read")
        # Not cancelled when the client leaves: a file is not closed while a thread reads it.
        Dialogue(exchange, OnLeave.TELL).start(tasks, files.serve)

    return serve


class StaticFiles:
    """The files of one route."""

    def __init__(self, route: StaticRoute) -> None:
        self._root = route.root
        self._index = route.index.encode()
        self._prefix = route.strip_prefix.rstrip("/")
        self._types = mimetypes.MimeTypes()
        for suffix, type_ in _NEWER_TYPES.items():
            self._types.add_type(type_, suffix)
        self._fixed_fields: Headers = [_SAFE_TYPE, (b"Accept-Ranges", b"bytes")]
        if route.cache_control:
            self._fixed_fields.append((b"Cache-Control", route.cache_control.encode("latin-1")))
        origin_head(200, self._fixed_fields)

    async def serve(self, dialogue: Dialogue) -> None:
        """Answer one exchange."""
        exchange = dialogue.exchange
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(None, self._answer, exchange.path, exchange.head)
        head = origin_head(answer.status, answer.fields)
        if answer.status != 304:
            head.content_length = answer.length or len(answer.text)
        if answer.file is None:
            dialogue.respond(head)
            dialogue.end(answer.text)
            return
        with closing(answer.file):
            dialogue.respond(head)
            if exchange.head.method == b"GET":
                await _send(dialogue, answer, answer.file)
            dialogue.end()

    # -- in a thread ---------------------------------------------------------------------------

    def _answer(self, path: str, head: RequestHead) -> Answer:
        segments = self._segments(path)
        try:
            if segments is None:
                raise NotServed(path)
            file = self._open(segments)
        except NotServed as reason:
            if isinstance(reason, IsDirectory) and not path.endswith("/"):
                return _moved(path, head)
            return _refusal(404, b"404 client: no such file\n")
        except Forbidden:
            return _refusal(403, b"403 ours: the file cannot be read\n")
        try:
            answer = self._answer_with(file, segments, head)
            if answer.file is not None and head.method == b"GET":
                answer.first = file.read_at(answer.offset, min(PIECE, answer.length))
        except BaseException:
            file.close()
            raise
        if answer.file is None:
            file.close()
        return answer

    def _segments(self, path: str) -> list[bytes] | None:
        """The path below the prefix; a directory's ends with its index. None: not below it."""
        rest = path.removeprefix(self._prefix)
        if not path.startswith(self._prefix) or rest[:1] not in ("", "/"):
            return None
        segments = rest.encode("utf-8", "surrogateescape").split(b"/")[1:]
        if segments and not segments[-1]:
            segments[-1] = self._index
        return segments

    def _open(self, segments: list[bytes]) -> RegularFile:
        """Raises IsDirectory only when that directory has an index."""
        try:
            if not segments:
                raise IsDirectory
            return open_beneath(self._root, segments)
        except IsDirectory:
            open_beneath(self._root, [*segments, self._index]).close()
            raise

    def _answer_with(self, file: RegularFile, segments: list[bytes], head: RequestHead) -> Answer:
        current = Validators.of(file.mtime_ns, file.size)
        fields = [
            *self._fixed_fields,
            (b"ETag", current.tag),
            (b"Last-Modified", current.last_modified),
        ]
        status = precondition_status(head, current)
        if status != 200:
            return Answer(status, fields)
        try:
            part = requested_range(head, current, file.size)
        except Unsatisfiable:
            return Answer(416, [*fields, (b"Content-Range", b"bytes */%d" % file.size)])
        fields.append((b"Content-Type", self._type_of(segments[-1])))
        if part is None:
            return Answer(200, fields, file=file, length=file.size)
        first, length = part
        whole = b"bytes %d-%d/%d" % (first, first + length - 1, file.size)
        fields.append((b"Content-Range", whole))
        return Answer(206, fields, file=file, offset=first, length=length)

    def _type_of(self, name: bytes) -> bytes:
        # The "./" because guess_type takes what it is given for a URL.
        type_, coding = self._types.guess_type(f"./{name.decode('utf-8', 'replace')}")
        if coding is not None:
            type_ = _ENCODED_TYPES.get(coding)
        if type_ is None:
            return b"application/octet-stream"
        if type_.startswith("text/"):
            return type_.encode() + b"; charset=utf-8"
        return type_.encode()


def _refusal(status: int, text: bytes) -> Answer:
    return Answer(status, [TEXT, _SAFE_TYPE], text)


def _moved(path: str, head: RequestHead) -> Answer:
    """To the directory's name with its slash, without which relative links would go wrong.

    The normalised path begins with one slash and a name, so it cannot lead to another host.
    """
    location = quote_from_bytes(path.encode("utf-8", "surrogateescape"), "/~!$&'()*+,;=:@-._")
    query = head.target.partition(b"?")[1:]
    fields = [TEXT, _SAFE_TYPE, (b"Location", location.encode() + b"/" + b"".join(query))]
    return Answer(301, fields, b"301: a directory\n")


async def _send(dialogue: Dialogue, answer: Answer, file: RegularFile) -> None:
    """Raises OwnFault when the file became shorter: its length was promised."""
    loop = asyncio.get_running_loop()
    end = answer.offset + answer.length
    offset, piece = answer.offset, answer.first
    while offset < end:
        if not piece:
            raise OwnFault("a file became shorter while it was sent")
        offset += len(piece)
        await dialogue.write(piece)
        if offset < end:
            piece = await loop.run_in_executor(None, file.read_at, offset, min(PIECE, end - offset))
