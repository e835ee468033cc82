"""A WSGI middleware that answers fastproxy's questions and hands over its files.

    app = UploadMiddleware(app, guard, [UploadRoute("/uploads/[^/]+", allow)])

The application finds what was stored with `uploaded(environ)`, a form with
`uploaded_form(environ)`, and nowhere else.
"""

import inspect
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from fastproxy import protocol
from fastproxy.backend.form import MAX_FORM
from fastproxy.backend.guard import MAX_BODY, Guard, announced_length
from fastproxy.backend.handover import FILE, FORM
from fastproxy.backend.handover import uploaded as uploaded  # for applications
from fastproxy.backend.handover import uploaded_form as uploaded_form
from fastproxy.backend.permission import Permission
from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.routes import Found, UploadRoute, find
from fastproxy.backend.uploaded import Ask

# May it happen, and where to? None: no. It may raise Refused.
Allow = Callable[[Ask, WSGIEnvironment], Permission | None]

AUTHORIZE_FIELD: Final = "HTTP_" + protocol.NATIVE.question_field.upper().replace("-", "_")
UPLOAD_FIELD: Final = "HTTP_" + protocol.NATIVE.report_field.upper().replace("-", "_")


def whole_path(environ: WSGIEnvironment) -> str:
    """The decoded path of a request, as claims have it (PEP 3333 hides bytes in latin-1)."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode("utf-8", "surrogateescape")


def refuse_coroutine(view: Callable[..., object]) -> None:
    """Raises TypeError for a view whose answer would have to be awaited by its decorator."""
    if inspect.iscoroutinefunction(view):
        raise TypeError(f"{view.__qualname__} is async; only synchronous views can be decorated")


class UploadMiddleware:
    """Refuses whatever comes to an upload route and is not from fastproxy."""

    def __init__(
        self, app: WSGIApplication, guard: Guard, routes: Sequence[UploadRoute[Allow]]
    ) -> None:
        self._app = app
        self._guard = guard
        self._routes = tuple(routes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], whole_path(environ)
        tokens = environ.pop(AUTHORIZE_FIELD, None), environ.pop(UPLOAD_FIELD, None)
        try:
            found = find(self._routes, method, path, self._guard.suffix)
            if found is None:
                return self._app(environ, start_response)
            if found.is_question:
                claims = self._guard.verify(protocol.AUTHORIZE, method, path, tokens[0])
                permission = _permission(found, self._guard, claims, environ)
                kind = protocol.NATIVE.permission_type
                return _answer(start_response, "200 OK", kind, permission)
            self._receive(found.route, environ, tokens[1])
            return self._app(environ, start_response)
        except Refused as refused:
            refused.log(method, path)
            kind = "text/plain; charset=utf-8"
            return _answer(start_response, refused.status_line, kind, refused.text.encode())

    def _receive(
        self, route: UploadRoute[Allow], environ: WSGIEnvironment, token: str | None
    ) -> None:
        guard, method, path = self._guard, environ["REQUEST_METHOD"], whole_path(environ)
        purpose, limit = (protocol.FORM, MAX_FORM) if route.is_form else (protocol.UPLOAD, MAX_BODY)
        claims = guard.verify(purpose, method, path, token)
        body = environ["wsgi.input"].read(announced_length(environ.get("CONTENT_LENGTH"), limit))
        if route.is_form:
            environ[FORM] = guard.form(claims, body, route.max_size)
        else:
            environ[FILE] = guard.file(claims, body, route.max_size)
        environ["wsgi.input"] = io.BytesIO(body)


def _permission(
    found: Found[Allow], guard: Guard, claims: dict[str, object], environ: WSGIEnvironment
) -> bytes:
    permission = found.route.allow(guard.ask(claims, found.route.max_size), environ)
    if permission is None:
        raise Refused(Reason.DENIED, "this upload is not allowed")
    return permission.json()


def _answer(
    start_response: StartResponse, status: str, content_type: str, body: bytes
) -> Iterable[bytes]:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
