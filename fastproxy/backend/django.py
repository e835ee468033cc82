"""For views of Django, under WSGI and ASGI.

@asked(guard)
def allow(request, ask, name): ...         # a Permission, or any HttpResponse: no

@uploaded(guard)
def take(request, file, name): ...

@form(guard)
def post(request, form): ...               # an UploadedForm

urlpatterns = [
    path("uploads/<str:name>/authorize", allow),
    path("uploads/<str:name>", take),
]
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse

from fastproxy import protocol
from fastproxy.backend.form import MAX_FORM, UploadedForm
from fastproxy.backend.guard import Guard, announced_length
from fastproxy.backend.permission import Permission
from fastproxy.backend.refusal import Refused
from fastproxy.backend.replays import key_of, seconds_until
from fastproxy.backend.uploaded import Ask, UploadedFile
from fastproxy.backend.wsgi import AUTHORIZE_FIELD, UPLOAD_FIELD, refuse_coroutine

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def asked(
    guard: Guard, max_size: int | None = None
) -> Callable[[Callable[Concatenate[HttpRequest, Ask, P], Permission | HttpResponse]], View[P]]:
    """Give the view fastproxy's question; `max_size` in bytes.

    Raises TypeError for a view that is `async`.
    """

    def decorate(
        allow: Callable[Concatenate[HttpRequest, Ask, P], Permission | HttpResponse],
    ) -> View[P]:
        refuse_coroutine(allow)

        @wraps(allow)
        def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                claims = _claims(guard, request, protocol.AUTHORIZE, AUTHORIZE_FIELD)
                answer = allow(request, guard.ask(claims, max_size), *args, **kwargs)
            except Refused as refused:
                return _refusal(request, refused)
            if isinstance(answer, Permission):
                return HttpResponse(answer.json(), content_type=protocol.NATIVE.permission_type)
            return answer

        return view

    return decorate


def uploaded(
    guard: Guard, max_size: int | None = None
) -> Callable[[Callable[Concatenate[HttpRequest, UploadedFile, P], HttpResponse]], View[P]]:
    """Give the view the file that fastproxy has stored; `max_size` in bytes.

    Raises TypeError for a view that is `async`.
    """

    def decorate(
        take: Callable[Concatenate[HttpRequest, UploadedFile, P], HttpResponse],
    ) -> View[P]:
        refuse_coroutine(take)

        @wraps(take)
        def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                claims = _claims(guard, request, protocol.UPLOAD, UPLOAD_FIELD)
                announced_length(request.META.get("CONTENT_LENGTH"))
                file = guard.file(claims, request.body, max_size)
                return take(request, file, *args, **kwargs)
            except Refused as refused:
                return _refusal(request, refused)

        return view

    return decorate


def form(
    guard: Guard, max_size: int | None = None, max_body: int = MAX_FORM
) -> Callable[[Callable[Concatenate[HttpRequest, UploadedForm, P], HttpResponse]], View[P]]:
    """Give the view the form whose files fastproxy has stored; `max_size` in bytes of each file.

    `max_body`: of the form without them. Raises TypeError for a view that is `async`.
    """

    def decorate(
        take: Callable[Concatenate[HttpRequest, UploadedForm, P], HttpResponse],
    ) -> View[P]:
        refuse_coroutine(take)

        @wraps(take)
        def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                claims = _claims(guard, request, protocol.FORM, UPLOAD_FIELD)
                announced_length(request.META.get("CONTENT_LENGTH"), max_body)
                found = guard.form(claims, request.body, max_size)
                return take(request, found, *args, **kwargs)
            except Refused as refused:
                return _refusal(request, refused)

        return view

    return decorate


class CacheReplays:
    """Spent tokens in one of Django's caches, for all processes that share it.

    Its `add` must be atomic: that of Memcached, Redis and the database is, and that of the local
    memory for one process. That of files is not: take FolderReplays.
    """

    def __init__(self, cache: Any, prefix: str = "fastproxy-spent-") -> None:
        self._cache = cache
        self._prefix = prefix

    def spend(self, jti: str, until: float) -> bool:
        """See Replays. Raises what the cache raises."""
        return bool(self._cache.add(self._prefix + key_of(jti), 1, seconds_until(until)))


def _claims(guard: Guard, request: HttpRequest, purpose: str, field: str) -> dict[str, Any]:
    return guard.verify(purpose, str(request.method), request.path, request.META.get(field))


def _refusal(request: HttpRequest, refused: Refused) -> HttpResponse:
    refused.log(str(request.method), request.path)
    return HttpResponse(
        refused.text, status=refused.status, content_type="text/plain; charset=utf-8"
    )
