"""For views of Flask.

@app.put("/uploads/<name>/authorize")
@asked(guard)
def allow(ask, name): ...          # a Permission, or any response: no

@app.put("/uploads/<name>")
@uploaded(guard)
def take(file, name): ...

@app.post("/posts")
@form(guard)
def post(form): ...                # an UploadedForm
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from flask import Response, request
from flask.typing import ResponseReturnValue

from fastproxy import protocol
from fastproxy.backend.form import MAX_FORM, UploadedForm
from fastproxy.backend.guard import Guard, announced_length
from fastproxy.backend.permission import Permission
from fastproxy.backend.refusal import Refused
from fastproxy.backend.uploaded import Ask, UploadedFile
from fastproxy.backend.wsgi import AUTHORIZE_FIELD, UPLOAD_FIELD, refuse_coroutine, whole_path

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]


def asked(
    guard: Guard, max_size: int | None = None
) -> Callable[[Callable[Concatenate[Ask, P], Permission | ResponseReturnValue]], View[P]]:
    """Give the view fastproxy's question; `max_size` in bytes.

    Raises TypeError for a view that is `async`.
    """

    def decorate(
        allow: Callable[Concatenate[Ask, P], Permission | ResponseReturnValue],
    ) -> View[P]:
        refuse_coroutine(allow)

        @wraps(allow)
        def view(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            try:
                ask = guard.ask(_claims(guard, protocol.AUTHORIZE, AUTHORIZE_FIELD), max_size)
                answer = allow(ask, *args, **kwargs)
            except Refused as refused:
                return _refusal(refused)
            if isinstance(answer, Permission):
                return Response(answer.json(), mimetype=protocol.NATIVE.permission_type)
            return answer

        return view

    return decorate


def uploaded(
    guard: Guard, max_size: int | None = None
) -> Callable[[Callable[Concatenate[UploadedFile, P], ResponseReturnValue]], View[P]]:
    """Give the view the file that fastproxy has stored; `max_size` in bytes.

    Raises TypeError for a view that is `async`.
    """

    def decorate(take: Callable[Concatenate[UploadedFile, P], ResponseReturnValue]) -> View[P]:
        refuse_coroutine(take)

        @wraps(take)
        def view(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            try:
                claims = _claims(guard, protocol.UPLOAD, UPLOAD_FIELD)
                announced_length(request.environ.get("CONTENT_LENGTH"))
                file = guard.file(claims, request.get_data(), max_size)
                return take(file, *args, **kwargs)
            except Refused as refused:
                return _refusal(refused)

        return view

    return decorate


def form(
    guard: Guard, max_size: int | None = None, max_body: int = MAX_FORM
) -> Callable[[Callable[Concatenate[UploadedForm, P], ResponseReturnValue]], View[P]]:
    """Give the view the form whose files fastproxy has stored; `max_size` in bytes of each file.

    `max_body`: of the form without them. Raises TypeError for a view that is `async`.
    """

    def decorate(take: Callable[Concatenate[UploadedForm, P], ResponseReturnValue]) -> View[P]:
        refuse_coroutine(take)

        @wraps(take)
        def view(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            try:
                claims = _claims(guard, protocol.FORM, UPLOAD_FIELD)
                announced_length(request.environ.get("CONTENT_LENGTH"), max_body)
                found = guard.form(claims, request.get_data(), max_size)
                return take(found, *args, **kwargs)
            except Refused as refused:
                return _refusal(refused)

        return view

    return decorate


def _claims(guard: Guard, purpose: str, field: str) -> dict[str, Any]:
    environ = request.environ
    return guard.verify(purpose, environ["REQUEST_METHOD"], whole_path(environ), environ.get(field))


def _refusal(refused: Refused) -> Response:
    refused.log(request.method, request.path)
    return Response(refused.text, refused.status, mimetype="text/plain")
