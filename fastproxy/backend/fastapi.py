"""For path operations of FastAPI.

@app.put("/uploads/{name}/authorize")
async def allow(name: str, ask: Annotated[Ask, Depends(asked(guard))]) -> Response:
    return permitted(Permission(...))      # any other response: no

@app.put("/uploads/{name}")
async def take(name: str, file: Annotated[UploadedFile, Depends(uploaded(guard))]): ...

@app.post("/posts")
async def post(form: Annotated[UploadedForm, Depends(form(guard))]): ...
"""

from collections.abc import AsyncIterator, Callable

from fastapi import HTTPException, Request, Response

from fastproxy import protocol
from fastproxy.backend import asgi
from fastproxy.backend.form import MAX_FORM, UploadedForm
from fastproxy.backend.guard import Guard
from fastproxy.backend.permission import Permission
from fastproxy.backend.refusal import Refused
from fastproxy.backend.uploaded import Ask, UploadedFile


def asked(guard: Guard, max_size: int | None = None) -> Callable[[Request], AsyncIterator[Ask]]:
    """A dependency: fastproxy's question; `max_size` in bytes.

    It answers a Refused of the path operation, too.
    """

    async def dependency(request: Request) -> AsyncIterator[Ask]:
        try:
            yield await asgi.asked(guard, request.scope, max_size)
        except Refused as refused:
            raise _http_exception(request, refused) from None

    return dependency


def uploaded(
    guard: Guard, max_size: int | None = None
) -> Callable[[Request], AsyncIterator[UploadedFile]]:
    """A dependency: the file that fastproxy has stored; `max_size` in bytes.

    It answers a Refused of the path operation, too: see UploadedFile.within.
    """

    async def dependency(request: Request) -> AsyncIterator[UploadedFile]:
        async def read(limit: int) -> bytes:
            return await asgi.collect(request.stream(), limit)

        try:
            yield await asgi.received(guard, request.scope, read, max_size)
        except Refused as refused:
            raise _http_exception(request, refused) from None

    return dependency


def form(
    guard: Guard, max_size: int | None = None, max_body: int = MAX_FORM
) -> Callable[[Request], AsyncIterator[UploadedForm]]:
    """A dependency: the form whose files fastproxy has stored; `max_size` in bytes of each file.

    `max_body`: of the form without them. It answers a Refused of the path operation, too.
    """

    async def dependency(request: Request) -> AsyncIterator[UploadedForm]:
        async def read(limit: int) -> bytes:
            return await asgi.collect(request.stream(), limit)

        try:
            yield await asgi.received_form(guard, request.scope, read, max_size, max_body)
        except Refused as refused:
            raise _http_exception(request, refused) from None

    return dependency


def permitted(permission: Permission) -> Response:
    """The answer "yes, and there"."""
    return Response(permission.json(), media_type=protocol.NATIVE.permission_type)


def _http_exception(request: Request, refused: Refused) -> HTTPException:
    refused.log(request.method, request.scope["path"])
    return HTTPException(refused.status, str(refused))
