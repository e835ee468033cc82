"""An ASGI middleware that answers fastproxy's questions and hands over its files.

    app = UploadMiddleware(app, guard, [UploadRoute("/uploads/[^/]+", allow)])

The application finds what was stored with `uploaded(scope)`, a form with `uploaded_form(scope)`,
and nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from fastproxy import protocol
from fastproxy.backend.form import MAX_FORM, UploadedForm
from fastproxy.backend.guard import Guard, announced_length
from fastproxy.backend.handover import FILE, FORM
from fastproxy.backend.handover import uploaded as uploaded  # for applications
from fastproxy.backend.handover import uploaded_form as uploaded_form
from fastproxy.backend.permission import Permission
from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.routes import UploadRoute, find
from fastproxy.backend.uploaded import Ask, UploadedFile

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
# May it happen, and where to? None: no. It may raise Refused.
Allow = Callable[[Ask, Scope], Awaitable[Permission | None]]

_TOKENS: Final = (
    protocol.NATIVE.question_field.lower().encode(),
    protocol.NATIVE.report_field.lower().encode(),
)


async def asked(guard: Guard, scope: Scope, max_size: int | None = None) -> Ask:
    """The question of a request. Raises Refused.

    In a thread, like `received`: the store of spent tokens may be a network away.
    """
    token = field(scope, protocol.NATIVE.question_field)
    claims = guard.verify(protocol.AUTHORIZE, scope["method"], scope["path"], token)
    return await asyncio.to_thread(guard.ask, claims, max_size)


async def received(
    guard: Guard,
    scope: Scope,
    read: Callable[[int], Awaitable[bytes]],
    max_size: int | None = None,
) -> UploadedFile:
    """The file of a request; `read` is asked for at most so many bytes. Raises Refused."""
    token = field(scope, protocol.NATIVE.report_field)
    claims = guard.verify(protocol.UPLOAD, scope["method"], scope["path"], token)
    body = await read(announced_length(field(scope, "Content-Length")))
    return await asyncio.to_thread(guard.file, claims, body, max_size)


async def received_form(
    guard: Guard,
    scope: Scope,
    read: Callable[[int], Awaitable[bytes]],
    max_size: int | None = None,
    max_body: int = MAX_FORM,
) -> UploadedForm:
    """The form of a request; see `received`. `max_size` is for each file. Raises Refused."""
    token = field(scope, protocol.NATIVE.report_field)
    claims = guard.verify(protocol.FORM, scope["method"], scope["path"], token)
    body = await read(announced_length(field(scope, "Content-Length"), max_body))
    return await asyncio.to_thread(guard.form, claims, body, max_size)


async def collect(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """A body as a whole. Raises Refused when it has more than `limit` bytes."""
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise Refused(Reason.BODY, "the report is longer than it says")
    return body


def field(scope: Scope, name: str) -> str | None:
    """A header field; one that was sent twice is joined, and believed by nobody."""
    wanted = name.lower().encode()
    values = [value for key, value in scope["headers"] if key.lower() == wanted]
    return b", ".join(values).decode("latin-1") if values else None


class UploadMiddleware:
    """Refuses whatever comes to an upload route and is not from fastproxy."""

    def __init__(self, app: App, guard: Guard, routes: Sequence[UploadRoute[Allow]]) -> None:
        self._app = app
        self._guard = guard
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        door = _Door(send)
        try:
            await self._serve(scope, receive, door)
        except Refused as refused:
            refused.log(scope["method"], scope["path"])
            if door.is_open:
                raise
            kind = "text/plain; charset=utf-8"
            await _answer(door, refused.status, kind, refused.text.encode())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        bare = {**scope, "headers": [h for h in scope["headers"] if h[0].lower() not in _TOKENS]}
        found = find(self._routes, scope["method"], scope["path"], self._guard.suffix)
        if found is None:
            await self._app(bare, receive, send)
        elif found.is_question:
            ask = await asked(self._guard, scope, found.route.max_size)
            permission = await found.route.allow(ask, bare)
            if permission is None:
                raise Refused(Reason.DENIED, "this upload is not allowed")
            await _answer(send, 200, protocol.NATIVE.permission_type, permission.json())
        elif found.route.is_form:
            body = _Body(receive)
            bare[FORM] = await received_form(self._guard, scope, body.read, found.route.max_size)
            await self._app(bare, body.receive, send)
        else:
            body = _Body(receive)
            bare[FILE] = await received(self._guard, scope, body.read, found.route.max_size)
            await self._app(bare, body.receive, send)


class _Door:
    """`send`, which remembers whether an answer was begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_open = False

    async def __call__(self, message: Message) -> None:
        self.is_open = True
        await self._send(message)


class _Body:
    """A report's body: read once by us, and again by the application if it likes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._again: list[Message] = []

    async def read(self, limit: int) -> bytes:
        """All of it, at most `limit` bytes. Raises Refused."""
        body = await collect(self._chunks(), limit)
        self._again = [{"type": "http.request", "body": body, "more_body": False}]
        return body

    async def _chunks(self) -> AsyncIterator[bytes]:
        is_more = True
        while is_more:
            message = await self._receive()
            yield message.get("body", b"")  # none when it broke off: its digest will tell
            is_more = message.get("more_body", False)

    async def receive(self) -> Message:
        """What the application gets."""
        return self._again.pop() if self._again else await self._receive()


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
