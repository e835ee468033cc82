"""Files beneath a directory, for GET and HEAD."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Final
from urllib.parse import quote_from_bytes

from msgspec import Struct

from fastproxy.config.schema import StaticRoute
from fastproxy.errors import MethodNotAllowed
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Dialogue, OnLeave, Tasks
from fastproxy.handlers.origin import TEXT, origin_head
from fastproxy.handlers.static.beneath import (
    Forbidden,
    IsDirectory,
    NotServed,
    RegularFile,
    open_beneath,
)
from fastproxy.handlers.static.codings import SUFFIXES, wanted_codings
from fastproxy.handlers.static.conditions import Validators
from fastproxy.handlers.static.media_types import type_of
from fastproxy.handlers.static.selection import Piece, select
from fastproxy.handlers.static.send_file import PIECE, read_ahead, send_file
from fastproxy.message import Headers, RequestHead

_SAFE_TYPE: Final = (b"X-Content-Type-Options", b"nosniff")


class Answer(Struct):
    """A response: `pieces` with what lies in `file`, or `text`. `length`: of its body."""

    status: int
    fields: Headers
    text: bytes = b""
    file: RegularFile | None = None
    pieces: Sequence[Piece] = ()
    length: int = 0
    first: bytes = b""  # of it, read in the same thread that opened the file


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
        self._codings = route.precompressed
        self._fixed_fields: Headers = [_SAFE_TYPE]
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
                await send_file(dialogue, answer.file, answer.pieces, answer.first)
            dialogue.end()

    # -- in a thread ---------------------------------------------------------------------------

    def _answer(self, path: str, head: RequestHead) -> Answer:
        segments = self._segments(path)
        try:
            if segments is None:
                raise NotServed(path)
            file, coding = self._open_best(segments, head)
        except NotServed as reason:
            if isinstance(reason, IsDirectory) and not path.endswith("/"):
                return _moved(path, head)
            return _refusal(404, b"404 client: no such file\n")
        except Forbidden:
            return _refusal(403, b"403 ours: the file cannot be read\n")
        try:
            answer = self._answer_with(file, segments, head, coding)
            if answer.file is not None and head.method == b"GET":
                answer.first, answer.pieces = read_ahead(file, answer.pieces, PIECE)
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

    def _open_best(self, segments: list[bytes], head: RequestHead) -> tuple[RegularFile, str]:
        """The file in the form its client likes best, and which that is; "": as it is."""
        if segments and self._codings:
            for coding in wanted_codings(head, self._codings):
                with suppress(NotServed):
                    encoded = [*segments[:-1], segments[-1] + SUFFIXES[coding]]
                    return open_beneath(self._root, encoded), coding
        return self._open(segments), ""

    def _open(self, segments: list[bytes]) -> RegularFile:
        """Raises IsDirectory only when that directory has an index."""
        try:
            if not segments:
                raise IsDirectory
            return open_beneath(self._root, segments)
        except IsDirectory:
            open_beneath(self._root, [*segments, self._index]).close()
            raise

    def _answer_with(
        self, file: RegularFile, segments: list[bytes], head: RequestHead, coding: str
    ) -> Answer:
        chosen = select(head, Validators.of(file.mtime_ns, file.size, coding), file.size)
        fields = [*self._fixed_fields, *chosen.fields]
        if self._codings:
            fields.append((b"Vary", b"Accept-Encoding"))
        if coding and chosen.has_body:
            fields.append((b"Content-Encoding", coding.encode("ascii")))
        if not chosen.has_body:
            return Answer(chosen.status, fields)
        body = chosen.body([*fields, (b"Content-Type", type_of(segments[-1]))])
        return Answer(chosen.status, body.fields, file=file, pieces=body.pieces, length=len(body))


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
