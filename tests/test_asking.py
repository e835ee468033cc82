"""Asking for permission: what the backend gets, and how its answer is taken."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import jwt
import msgspec
import pytest
import uvloop
from msgspec.structs import replace

from fastproxy.asking import Asker, Question, authorize_target, strict
from fastproxy.claims import Signer
from fastproxy.errors import BackendClosed, BadAuthorizeAnswer, BadResponse
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.protocol import GITLAB, NATIVE, Dialect
from fastproxy.upstream.client import Answer, Call, perform
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, origin, response

T = TypeVar("T")
QUESTION = Question(
    b"POST",
    b"/files/a%20b?x=1",
    "/files/a b",
    b"shop.example",
    [
        (b"Authorization", b"Bearer t"),
        (b"Content-Type", b"image/png"),
        (b"Content-Encoding", b"gzip"),
        (b"Accept-Encoding", b"br"),
        (b"X-HTTP-Method-Override", b"DELETE"),
    ],
    b"X-Request-Id: r1\r\n",
    None,
    "image/png",
)
SECRET = b"s" * 40
PERMISSION_TYPE = b"Content-Type: application/vnd.fastproxy.authorize+json; v=1\r\n"
GITLAB_TYPE = b"application/vnd.gitlab-workhorse+json"
PERMIT = response(b"{}", fields=PERMISSION_TYPE)


def with_pool(address: str, work: Callable[[Pool], Awaitable[T]]) -> T:
    """The result of `work` with a pool to `address`."""

    async def run() -> T:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reactor.deadlines.start()
        pool = Pool(parse_origin(address), PoolLimits(), reactor)
        try:
            return await work(pool)
        finally:
            pool.close()
            reactor.deadlines.stop()

    return uvloop.run(run())


class Permission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What some handler wants to know."""

    place: str = ""
    urls: tuple[str, ...] = ()


def asked(pool: Pool, dialect: Dialect = NATIVE) -> Awaitable[Permission | Answer]:
    """Ask once."""
    signer = Signer(SECRET, dialect.issuer, 60, dialect=dialect)
    return Asker(pool, signer, "/authorize", 10.0, strict(Permission)).ask(QUESTION)


@pytest.mark.parametrize(
    ("target", "suffix", "expected"),
    [
        (b"/a", "/authorize", b"/a/authorize"),
        (b"/a/", "/authorize", b"/a/authorize"),
        (b"/a?b=/c", "/authorize", b"/a/authorize?b=/c"),
        (b"/a%2Fb", "/may", b"/a%2Fb/may"),
        (b"/a/?b", "", b"/a/?b"),
    ],
)
def test_the_suffix_stands_behind_the_path(target: bytes, suffix: str, expected: bytes) -> None:
    assert authorize_target(target, suffix) == expected


def test_the_backend_learns_who_asks_and_nothing_of_the_body() -> None:
    with origin(lambda peer: peer.send(PERMIT) if peer.request() else None) as backend:
        assert isinstance(with_pool(backend.address, asked), Permission)
    request = backend.requests[0]
    assert request.line == b"POST /files/a%20b/authorize?x=1 HTTP/1.1"
    assert request.header(b"host") == b"shop.example"
    assert request.header(b"authorization") == b"Bearer t"
    assert request.header(b"x-request-id") == b"r1"
    assert request.header(b"content-length") == b"0"
    for name in (b"content-type", b"content-encoding", b"accept-encoding"):
        assert request.header(name) is None
    assert request.header(b"x-http-method-override") is None


def test_a_second_question_is_signed_anew() -> None:
    """A kept connection dies with the question on it; the backend may have seen its nonce."""

    def script(peer: Peer) -> None:
        while peer.request():
            if peer.number == 0 and len(peer.requests) == 2:
                peer.reset()
                return
            peer.send(PERMIT)

    async def twice(pool: Pool) -> list[Permission | Answer]:
        return [await asked(pool), await asked(pool)]

    with origin(script) as backend:
        answers = with_pool(backend.address, twice)
    assert all(isinstance(answer, Permission) for answer in answers)
    tokens = [request.header(b"fastproxy-authorize") for request in backend.requests]
    assert len(tokens) == len(set(tokens)) == 3


def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.reset()

    with origin(script) as backend, pytest.raises(BackendClosed):
        with_pool(backend.address, asked)
    assert len(backend.requests) == 1


def test_any_other_answer_is_a_refusal() -> None:
    other = response(b"no", status=b"401 Unauthorized", fields=b"WWW-Authenticate: Basic\r\n")
    with origin(lambda peer: peer.send(other) if peer.request() else None) as backend:
        answer = with_pool(backend.address, asked)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (401, b"no")
    assert answer.header(b"www-authenticate") == b"Basic"


def test_a_refusal_that_looks_like_success_is_told_to_the_operator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = response(b"<h1>Log in</h1>", fields=b"Content-Type: text/html\r\n")
    with (
        caplog.at_level("INFO", "fastproxy"),
        origin(lambda peer: peer.send(page) if peer.request() else None) as backend,
    ):
        assert isinstance(with_pool(backend.address, asked), Answer)
    assert "POST /files/a b: answered 200, but not as application/vnd.fastproxy" in caplog.text


def test_a_permission_with_an_error_status_goes_nowhere() -> None:
    bad = PERMIT.replace(b"200 OK", b"403 No")
    with (
        origin(lambda peer: peer.send(bad) if peer.request() else None) as backend,
        pytest.raises(BadAuthorizeAnswer, match="403"),
    ):
        with_pool(backend.address, asked)


def test_as_many_signed_parts_as_s3_takes_fit_into_a_permission() -> None:
    urls = [f"http://store/{number:05}?{'s' * 700}" for number in range(10_000)]
    permit = response(json.dumps({"urls": urls}).encode(), fields=PERMISSION_TYPE)
    with origin(lambda peer: peer.send(permit) if peer.request() else None) as backend:
        permission = with_pool(backend.address, asked)
    assert permission == Permission(urls=tuple(urls))


def test_what_is_no_permission_of_that_type_is_the_backends_fault() -> None:
    deep = b"[" * 100_000
    for body in (b"{", b"[]", b'{"place": 7}', b'{"other": 1}', b'{"place": "\xff"}', deep):
        with pytest.raises(BadAuthorizeAnswer):
            strict(Permission)(body)


def test_deep_unknown_values_end_in_the_same_fault() -> None:
    class Tolerant(msgspec.Struct):
        place: str = ""

    with pytest.raises(BadAuthorizeAnswer):
        strict(Tolerant)(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_gitlab_is_asked_in_its_own_words() -> None:
    permit = response(b'{"place": "a"}', fields=b"Content-Type: %b\r\n" % GITLAB_TYPE)
    with origin(lambda peer: peer.send(permit) if peer.request() else None) as backend:
        permission = with_pool(backend.address, lambda pool: asked(pool, GITLAB))
    assert permission == Permission("a")
    request = backend.requests[0]
    token = (request.header(b"gitlab-workhorse-api-request") or b"").decode()
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="gitlab-workhorse")
    assert set(claims) == {"iss", "iat", "exp"}
    assert (request.header(b"gitlab-workhorse") or b"").startswith(b"fastproxy-")
    assert request.header(b"fastproxy-authorize") is None


def test_all_may_be_asked_for_at_one_place() -> None:
    permit = response(b"{}", fields=b"Content-Type: %b\r\n" % GITLAB_TYPE)

    async def ask(pool: Pool) -> Permission | Answer:
        signer = Signer(SECRET, GITLAB.issuer, 60, dialect=GITLAB)
        read = strict(Permission)
        return await Asker(pool, signer, "/x", 10.0, read, fixed_path="/ask/it").ask(
            replace(QUESTION, method=b"PUT")
        )

    with origin(lambda peer: peer.send(permit) if peer.request() else None) as backend:
        assert isinstance(with_pool(backend.address, ask), Permission)
    assert backend.requests[0].line == b"POST /ask/it?x=1 HTTP/1.1"


def test_a_permission_in_another_dialect_is_a_refusal() -> None:
    with origin(lambda peer: peer.send(PERMIT) if peer.request() else None) as backend:
        assert isinstance(with_pool(backend.address, lambda pool: asked(pool, GITLAB)), Answer)


def test_an_enormous_answer_is_cut_off() -> None:
    huge = response(bytes(9 << 20))
    with (
        origin(lambda peer: peer.send(huge) if peer.request() else None) as backend,
        pytest.raises(BadResponse),
    ):
        with_pool(backend.address, asked)


def test_a_call_that_may_be_repeated_is_repeated_by_itself() -> None:
    def script(peer: Peer) -> None:
        while peer.request():
            if peer.number == 0 and len(peer.requests) == 2:
                peer.reset()
                return
            peer.send(response(b"ok"))

    async def twice(pool: Pool) -> list[bytes]:
        call = Call("GET", b"/", b"h", may_repeat=True)
        return [(await perform(pool, call)).body, (await perform(pool, call)).body]

    with origin(script) as backend:
        assert with_pool(backend.address, twice) == [b"ok", b"ok"]
