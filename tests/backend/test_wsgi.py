"""The WSGI middleware: what reaches the application is from fastproxy, and bounded."""

import io
import json
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from fastproxy.backend import Ask, Guard, MemoryReplays, Permission, Reason, Refused, UploadRoute
from fastproxy.backend.wsgi import UploadMiddleware, uploaded
from fastproxy.protocol import NATIVE
from tests.backend.honest import SECRET, ask_token, report_of

ROUTE = r"/uploads/[^/]+"


def allow(ask: Ask, environ: WSGIEnvironment) -> Permission | None:
    """As the query says, for the tests."""
    if environ["QUERY_STRING"] == "stranger":
        raise Refused(Reason.DENIED, "log in", 401)
    return None if environ["QUERY_STRING"] == "full" else Permission(key="k", id=ask.name)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tells what it got; /careless believes that only uploads come to it."""
    seen: dict[str, Any] = {"fields": sorted(key for key in environ if "FASTPROXY" in key)}
    if environ["REQUEST_METHOD"] != "GET":
        file = uploaded(environ)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        seen.update(name=file.name, size=file.size, body=body.decode())
    told = json.dumps(seen).encode()
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [told]


class Deaf(io.BytesIO):
    """A body that must not be read."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("read a body that nobody vouches for")


class Site:
    """The application and its guard; `ask` visits it."""

    def __init__(self, max_size: int | None = None) -> None:
        guard = Guard(SECRET, MemoryReplays())
        routes = [UploadRoute(ROUTE, allow, max_size=max_size)]
        self.app = validator(UploadMiddleware(application, guard, routes))

    def visit(
        self, method: str, target: str, body: io.BytesIO | bytes = b"", **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        path, _, query = target.partition("?")
        source = io.BytesIO(body) if isinstance(body, bytes) else body
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(source.getvalue())),
            "wsgi.input": source,
            **fields,
        }
        setup_testing_defaults(environ)
        answer: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            answer[:] = [int(status.split()[0]), dict(headers)]

        pieces = self.app(environ, start)
        try:
            return answer[0], answer[1], b"".join(pieces)
        finally:
            pieces.close()  # type: ignore[attr-defined]


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_question_is_answered_without_the_application(site: Site) -> None:
    status, headers, body = site.visit(
        "PUT", "/uploads/a/authorize", HTTP_FASTPROXY_AUTHORIZE=ask_token()
    )
    assert (status, headers["Content-Type"]) == (200, NATIVE.permission_type)
    assert json.loads(body) == {"key": "k", "id": "a"}


@pytest.mark.parametrize(("query", "status"), [("full", 403), ("stranger", 401)])
def test_the_application_may_say_no(query: str, status: int, site: Site) -> None:
    token = ask_token()
    found = site.visit("PUT", f"/uploads/a/authorize?{query}", HTTP_FASTPROXY_AUTHORIZE=token)
    assert found[0] == status
    assert b"denied" in found[2]


def test_a_report_reaches_the_application_without_its_token(site: Site) -> None:
    body, token = report_of()
    status, _, seen = site.visit("PUT", "/uploads/a", body, HTTP_FASTPROXY_UPLOAD=token)
    assert status == 201
    told = {"fields": [], "name": "a", "size": 3, "body": body.decode()}
    assert json.loads(seen) == told


def test_a_report_beneath_a_mount_is_known_by_its_whole_path(site: Site) -> None:
    body, token = report_of("/uploads/ä b")
    mounted = {"SCRIPT_NAME": "/uploads", "PATH_INFO": "/ä b".encode().decode("latin-1")}
    fields = {**mounted, "HTTP_FASTPROXY_UPLOAD": token}
    assert site.visit("PUT", "/", body, **fields)[0] == 201


@pytest.mark.parametrize(
    "target",
    ["/uploads/a", "/uploads/a?path=/etc/passwd", "/uploads/a/authorize", "/uploads/ä", "/other"],
)
def test_without_a_token_nothing_is_read(target: str, site: Site) -> None:
    body, token = report_of()
    wrong = "HTTP_FASTPROXY_AUTHORIZE" if target == "/uploads/a" else "HTTP_X"
    status, _, text = site.visit("PUT", target, Deaf(body), **{wrong: token})
    assert status == 403
    assert text.startswith(b"403 missing")


def test_a_report_that_counts_does_not_count_again(site: Site) -> None:
    body, token = report_of()
    assert site.visit("PUT", "/uploads/a", body, HTTP_FASTPROXY_UPLOAD=token)[0] == 201
    status, _, text = site.visit("PUT", "/uploads/a", body, HTTP_FASTPROXY_UPLOAD=token)
    assert (status, text[:13]) == (403, b"403 replayed:")


@pytest.mark.parametrize("length", ["", "70000", "1"])
def test_a_length_that_is_no_reports_is_refused(length: str, site: Site) -> None:
    body, token = report_of()
    fields = {"CONTENT_LENGTH": length, "HTTP_FASTPROXY_UPLOAD": token}
    status, _, text = site.visit("PUT", "/uploads/a", body, **fields)
    assert (status, text[:9]) == (403, b"403 body:")


def test_what_is_larger_than_the_route_says_is_refused_twice() -> None:
    site = Site(max_size=2)
    token = ask_token(length=3)
    assert site.visit("PUT", "/uploads/a/authorize", HTTP_FASTPROXY_AUTHORIZE=token)[0] == 413
    body, token = report_of()
    assert site.visit("PUT", "/uploads/a", body, HTTP_FASTPROXY_UPLOAD=token)[0] == 413


def test_another_request_passes_but_tokens_never_do(site: Site) -> None:
    body, token = report_of()
    fields = {"HTTP_FASTPROXY_UPLOAD": token, "HTTP_FASTPROXY_AUTHORIZE": token}
    for target in ("/uploads/a", "/elsewhere"):
        assert json.loads(site.visit("GET", target, **fields)[2]) == {"fields": []}
    # a spelling that the route does not know, though the application's router may
    assert site.visit("PUT", "/uploads//a", body, HTTP_FASTPROXY_UPLOAD=token)[0] == 403


def test_a_client_cannot_put_a_file_into_the_environment(site: Site) -> None:
    assert site.visit("PUT", "/other", **{"fastproxy.upload": "forged"})[0] == 403
