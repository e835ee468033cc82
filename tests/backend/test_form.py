"""Forms for applications: their files are what is signed, and nothing that a client wrote."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import django
import flask
import httpx
import pytest
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

from fastproxy.backend import (
    Guard,
    MemoryReplays,
    Permission,
    Refused,
    UploadedForm,
    UploadRoute,
    asgi,
    fastapi,
    wsgi,
)
from fastproxy.backend import django as for_django
from fastproxy.backend import flask as for_flask
from fastproxy.backend.form import read_fields
from fastproxy.protocol import FORM, body_hash
from fastproxy.uploads.form import FieldBudget, FormFields, StoredFile
from fastproxy.uploads.report import StoredUpload
from fastproxy.wire.part_head import PartHead
from tests.backend.honest import SECRET, SIGNER

FILE = StoredFile("photo", StoredUpload("7", "s", "k", "/s/k", 3, "e", name="a b.png"))
Form = tuple[bytes, dict[str, str]]


def written(texts: list[tuple[str, bytes]], files: list[StoredFile], path: str = "/posts") -> Form:
    """The body and the head of a report."""
    fields = FormFields(100, 1 << 20, FieldBudget(1 << 20))
    for name, text in texts:
        fields.begin(PartHead(name, None, "text/plain"))
        fields.add(text)
        fields.end()
    body, lines = fields.report(files, SIGNER, b"POST", path)
    rows = (line.partition(": ") for line in lines.decode().splitlines())
    return body, {name: value for name, _, value in rows}


def read(form: Form, max_size: int | None = None) -> UploadedForm:
    guard = Guard(SECRET, MemoryReplays())
    claims = guard.verify(FORM, "POST", "/posts", form[1]["Fastproxy-Upload"])
    return guard.form(claims, form[0], max_size)


def shown(form: UploadedForm) -> dict[str, Any]:
    """What the applications here answer."""
    files = [(field, file.name, file.key) for field, file in form.files]
    return {"texts": form.fields, "files": files}


SHOWN = {"texts": [["title", "ü\r\n"]], "files": [["photo", "a b.png", "k"]]}


@given(
    st.lists(
        st.tuples(
            st.text("ab[]ü", min_size=1), st.binary() | st.just(b"\r\n--x--\r\n") | st.just(b"--")
        ),
        max_size=4,
    )
)
def test_every_form_is_read_as_it_was_written(texts: list[tuple[str, bytes]]) -> None:
    form = read(written(texts, [FILE, FILE]))
    assert form.fields == tuple((name, text.decode(errors="replace")) for name, text in texts)
    assert [(field, file.path) for field, file in form.files] == [("photo", Path("/s/k"))] * 2


def test_the_first_of_a_name_is_found() -> None:
    form = read(written([("a", b"1"), ("a", b"2")], [FILE]))
    assert (form.text("a"), form.text("photo"), form.text("b")) == ("1", None, None)
    assert (form.file("photo"), form.file("a")) == (form.files[0][1], None)


def test_an_empty_form_is_one() -> None:
    assert read(written([], [])) == UploadedForm(fields=(), files=())


def test_a_file_that_is_larger_than_allowed_is_refused() -> None:
    read(written([], [FILE]), 3)
    with pytest.raises(Refused, match="too-large"):
        read(written([], [FILE]), 2)


def test_a_body_that_was_changed_is_refused() -> None:
    body, head = written([("a", b"1")], [FILE])
    with pytest.raises(Refused, match="body"):
        read((body.replace(b"\r\n1\r\n", b"\r\n2\r\n"), head))


def test_a_file_of_another_address_is_refused() -> None:
    """As if a client had got hold of a token; fastproxy would not pass such a field on."""
    body, head = written([], [FILE])
    stolen, _ = written([], [FILE], "/elsewhere")
    token = dict(read_fields(stolen))["photo.fastproxy-upload"]
    forged = body.replace(
        dict(read_fields(body))["photo.fastproxy-upload"].encode(), token.encode()
    )
    guard = Guard(SECRET, MemoryReplays())
    claims = guard.verify(FORM, "POST", "/posts", head["Fastproxy-Upload"])
    with pytest.raises(Refused, match="request"):
        guard.form({**claims, "body_sha256": body_hash(forged)}, forged)


def test_a_form_counts_once() -> None:
    guard = Guard(SECRET, MemoryReplays())
    body, head = written([], [FILE])
    claims = guard.verify(FORM, "POST", "/posts", head["Fastproxy-Upload"])
    guard.form(claims, body)
    with pytest.raises(Refused, match="replayed"):
        guard.form(claims, body)


def test_a_report_of_a_raw_body_is_no_form() -> None:
    _, head = written([], [FILE])
    guard = Guard(SECRET, MemoryReplays())
    with pytest.raises(Refused, match="purpose"):
        guard.verify("fastproxy-upload", "POST", "/posts", head["Fastproxy-Upload"])


# -- the adapters --------------------------------------------------------------------------------


def by_flask(body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    app, guard = flask.Flask(__name__), Guard(SECRET, MemoryReplays())

    @app.post("/posts")
    @for_flask.form(guard, max_body=4000)
    def post(form: UploadedForm) -> dict[str, Any]:
        assert form.text("title") == flask.request.form["title"]  # both can be read
        return shown(form)

    answer = app.test_client().post("/posts", data=body, headers=head)
    return answer.status_code, answer.data


def by_django(body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    if not settings.configured:
        settings.configure()
        django.setup()

    @for_django.form(Guard(SECRET, MemoryReplays()), max_body=4000)
    def post(request: HttpRequest, form: UploadedForm) -> JsonResponse:
        assert form.text("title") == request.POST["title"]
        return JsonResponse(shown(form))

    more: Any = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in head.items()}
    kind = head.get("Content-Type", "")
    answer = post(RequestFactory().generic("POST", "/posts", body, content_type=kind, **more))
    return answer.status_code, answer.content


def _by_asgi(app: Any, body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            return await client.post("/posts", content=body, headers=head)

    answer = asyncio.run(ask())
    return answer.status_code, answer.content


def by_fastapi(body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    app = FastAPI()
    form_of = fastapi.form(Guard(SECRET, MemoryReplays()), max_body=4000)

    @app.post("/posts")
    async def post(form: Annotated[UploadedForm, Depends(form_of)]) -> dict[str, Any]:
        return shown(form)

    return _by_asgi(app, body, head)


def by_asgi(body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    async def allow(ask: Any, scope: Any) -> Permission:
        return Permission()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        answer = json.dumps(shown(asgi.uploaded_form(scope))).encode()
        assert (await receive())["body"] == body
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    routes = [UploadRoute("/posts", allow, is_form=True)]
    app = asgi.UploadMiddleware(application, Guard(SECRET, MemoryReplays()), routes)
    return _by_asgi(app, body, head)


def by_wsgi(body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        answer = json.dumps(shown(wsgi.uploaded_form(environ))).encode()
        assert environ["wsgi.input"].read() == body
        start_response("200 OK", [])
        return [answer]

    routes = [UploadRoute("/posts", lambda ask, environ: Permission(), is_form=True)]
    app = wsgi.UploadMiddleware(application, Guard(SECRET, MemoryReplays()), routes)
    answer = Client(app).post("/posts", data=body, headers=head)
    return answer.status_code, answer.data


ADAPTERS = [by_flask, by_django, by_fastapi, by_asgi, by_wsgi]
adapters = pytest.mark.parametrize("adapter", ADAPTERS)
Adapter = Callable[[bytes, dict[str, str]], tuple[int, bytes]]


@adapters
def test_an_application_gets_the_form(adapter: Adapter) -> None:
    status, answer = adapter(*written([("title", "ü\r\n".encode())], [FILE]))
    assert (status, json.loads(answer)) == (200, SHOWN)


@adapters
def test_a_form_without_a_token_is_refused(adapter: Adapter) -> None:
    body, head = written([("title", b"1")], [FILE])
    del head["Fastproxy-Upload"]
    assert adapter(body, head) == (403, b"403 missing: only fastproxy may send this request\n") or (
        adapter is by_fastapi and adapter(body, head)[0] == 403
    )


@pytest.mark.parametrize("adapter", [by_flask, by_django, by_fastapi])
def test_a_form_that_is_longer_than_said_is_not_read(adapter: Adapter) -> None:
    status, answer = adapter(*written([("title", b"1" * 4000)], [FILE]))
    assert status == 403
    assert b"at most 4000 bytes" in answer


@pytest.mark.parametrize("found", [asgi.uploaded_form, wsgi.uploaded_form])
def test_without_a_form_there_is_none(found: Callable[[Any], UploadedForm]) -> None:
    with pytest.raises(Refused, match="missing"):
        found({"fastproxy.form": "a client's"})
