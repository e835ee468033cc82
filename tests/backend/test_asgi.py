"""The ASGI middleware: what reaches the application is from fastproxy, and bounded."""

import asyncio
import json
from typing import Any

import pytest

from fastproxy.backend import Ask, Guard, MemoryReplays, Permission, Reason, Refused, UploadRoute
from fastproxy.backend.asgi import Message, Receive, Scope, Send, UploadMiddleware, uploaded
from fastproxy.protocol import NATIVE
from tests.backend.honest import SECRET, ask_token, report_of


async def allow(ask: Ask, scope: Scope) -> Permission | None:
    return None if scope["query_string"] == b"full" else Permission(key="k", id=ask.name)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it got."""
    if scope["type"] != "http":
        await send({"type": f"{scope['type']}.seen"})
        return
    seen: dict[str, Any] = {"fields": [name.decode() for name, _ in scope["headers"]]}
    if scope["query_string"] == b"late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["method"] != "GET":
        file = uploaded(scope)
        body = (await receive())["body"]
        seen.update(name=file.name, size=file.size, body=body.decode())
        seen["then"] = (await receive())["type"]
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


class Site:
    """The application and its guard; `visit` asks it."""

    def __init__(self, max_size: int | None = None) -> None:
        guard = Guard(SECRET, MemoryReplays())
        routes = [UploadRoute(r"/uploads/[^/]+", allow, max_size=max_size)]
        self.app = UploadMiddleware(application, guard, routes)
        self.reads = 0

    def visit(
        self,
        method: str,
        target: str,
        pieces: list[bytes] | None = None,
        fields: list[tuple[str, str]] | None = None,
        length: int | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        path, _, query = target.partition("?")
        bodies = pieces or [b""]
        length = sum(map(len, bodies)) if length is None else length
        headers = [("Content-Length", str(length)), *(fields or [])]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        }
        messages: list[Message] = [
            {"type": "http.request", "body": body, "more_body": True} for body in bodies
        ]
        messages[-1]["more_body"] = False
        sent = asyncio.run(self._run(scope, messages))
        body = b"".join(message.get("body", b"") for message in sent)
        names = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return sent[0]["status"], names, body

    async def _run(self, scope: Scope, messages: list[Message]) -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            self.reads += 1
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent


@pytest.fixture
def site() -> Site:
    return Site()


def asks(token: str) -> list[tuple[str, str]]:
    return [("Fastproxy-Authorize", token)]


def tells(token: str) -> list[tuple[str, str]]:
    return [("Fastproxy-Upload", token)]


def test_a_question_is_answered_without_the_application(site: Site) -> None:
    status, headers, body = site.visit("PUT", "/uploads/a/authorize", None, asks(ask_token()))
    assert (status, headers["content-type"]) == (200, NATIVE.permission_type)
    assert json.loads(body) == {"key": "k", "id": "a"}


def test_the_application_may_say_no(site: Site) -> None:
    found = site.visit("PUT", "/uploads/a/authorize?full", None, asks(ask_token()))
    assert (found[0], found[2][:11]) == (403, b"403 denied:")


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_report_in_pieces_reaches_the_application_whole(size: int, site: Site) -> None:
    body, token = report_of()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    status, _, seen = site.visit("PUT", "/uploads/a", pieces, tells(token))
    assert status == 201
    assert json.loads(seen) == {
        "fields": ["content-length"],
        "name": "a",
        "size": 3,
        "body": body.decode(),
        "then": "http.disconnect",
    }


@pytest.mark.parametrize("target", ["/uploads/a", "/uploads/a?x=1", "/uploads/a/authorize", "/b"])
def test_without_a_token_nothing_is_read(target: str, site: Site) -> None:
    body, token = report_of()
    fields = asks(token) if target == "/uploads/a" else []
    status, _, text = site.visit("PUT", target, [body], fields)
    assert (status, text[:12], site.reads) == (403, b"403 missing:", 0)


def test_a_report_counts_once(site: Site) -> None:
    body, token = report_of()
    assert site.visit("PUT", "/uploads/a", [body], tells(token))[0] == 201
    assert site.visit("PUT", "/uploads/a", [body], tells(token))[2].startswith(b"403 replayed")


def test_a_field_that_is_there_twice_is_not_believed(site: Site) -> None:
    body, token = report_of()
    assert site.visit("PUT", "/uploads/a", [body], tells(token) * 2)[0] == 403


def test_no_more_is_read_than_was_announced(site: Site) -> None:
    body, token = report_of()
    pieces = [body, *[b" " * 1000] * 100]
    status, _, text = site.visit("PUT", "/uploads/a", pieces, tells(token), length=len(body))
    assert (status, text[:9], site.reads) == (403, b"403 body:", 2)
    assert site.visit("PUT", "/uploads/a", [b" " * 70_000], tells(token))[0] == 403
    assert site.reads == 2


def test_a_report_that_breaks_off_is_refused(site: Site) -> None:
    _, token = report_of()
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/uploads/a",
        "query_string": b"",
        "headers": [(b"fastproxy-upload", token.encode()), (b"content-length", b"5")],
    }
    assert asyncio.run(site._run(scope, []))[0]["status"] == 403


def test_what_is_larger_than_the_route_says_is_refused_twice() -> None:
    site = Site(max_size=2)
    found = site.visit("PUT", "/uploads/a/authorize", None, asks(ask_token(length=3)))
    assert found[0] == 413
    body, token = report_of()
    assert site.visit("PUT", "/uploads/a", [body], tells(token))[0] == 413


def test_another_request_passes_but_tokens_never_do(site: Site) -> None:
    _, token = report_of()
    for target in ("/uploads/a", "/b"):
        seen = site.visit("GET", target, None, [*tells(token), *asks(token)])[2]
        assert json.loads(seen) == {"fields": ["content-length"]}


def test_other_protocols_pass(site: Site) -> None:
    sent = asyncio.run(site._run({"type": "lifespan"}, []))
    assert sent == [{"type": "lifespan.seen"}]


def test_a_refusal_in_a_begun_answer_ends_it(site: Site) -> None:
    with pytest.raises(Refused) as refused:
        site.visit("PUT", "/b?late")
    assert refused.value.reason is Reason.MISSING
