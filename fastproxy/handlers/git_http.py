"""git's smart HTTP protocol (gitprotocol-http(5)): ask the backend, then let git itself answer.

    ask --permitted--> wait for a turn --> git runs: question in, answer out --> its exit is judged
    refused: the backend's answer goes to the client, its body is not read

What of a route is not this protocol goes to the backend as by a proxy route.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import parse_qs

from fastproxy.errors import BadAuthorizeAnswer, GitFailed, GitTimeout
from fastproxy.exchange import Exchange
from fastproxy.git.conversation import answers
from fastproxy.git.held import Held
from fastproxy.git.inflate import decoded
from fastproxy.git.permission import AnyGitPermission, Deed
from fastproxy.git.process import GitProcess
from fastproxy.handlers.coroutine import BodyBuffer, Dialogue, OnLeave
from fastproxy.handlers.git_kit import GitKit
from fastproxy.handlers.origin import origin_head
from fastproxy.handlers.upload_kit import question_of
from fastproxy.message import ResponseHead
from fastproxy.upstream.client import Answer

log = logging.getLogger("fastproxy.git")

Serve = Callable[[Exchange], None]

_DEEDS: Final[dict[str, Deed]] = {"git-upload-pack": "fetch", "git-receive-pack": "push"}
_NEVER_KEPT: Final = [
    (b"Expires", b"Fri, 01 Jan 1980 00:00:00 GMT"),
    (b"Pragma", b"no-cache"),
    (b"Cache-Control", b"no-cache, max-age=0, must-revalidate"),
    (b"X-Accel-Buffering", b"no"),
]
_version_of = re.compile(rb"(?:.*:)?(version=[0-2])(?::.*)?").fullmatch


@dataclass(frozen=True, slots=True)
class Wish:
    """What a git client wants: `service` with a question, or first the refs it is about."""

    service: str
    is_refs: bool

    @property
    def deed(self) -> Deed:
        """As a backend allows it."""
        return _DEEDS[self.service]

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        kind = "advertisement" if self.is_refs else "result"
        return f"application/x-{self.service}-{kind}".encode()


def wish_of(exchange: Exchange) -> Wish | None:
    """None: this is not the smart protocol."""
    head = exchange.head
    directory, _, name = exchange.path.rpartition("/")
    if head.method == b"GET" and name == "refs" and directory.endswith("/info"):
        query = head.target.partition(b"?")[2].decode("latin-1")
        services = parse_qs(query).get("service", [])
        if len(services) == 1 and services[0] in _DEEDS:
            return Wish(services[0], is_refs=True)
    if head.method == b"POST" and name in _DEEDS:
        content_type = (head.header(b"content-type") or b"").strip().lower()
        if content_type == f"application/x-{name}-request".encode():
            return Wish(name, is_refs=False)
    return None


class GitDialogue(Dialogue):
    """Known by its type: at a drain it has the time that uploads have."""


def make_git(kit: GitKit) -> Serve:
    """The handler of a route."""

    def serve(exchange: Exchange) -> None:
        wish = wish_of(exchange)
        if wish is None:
            kit.elsewhere(exchange)
            return
        limit = kit.route.max_push if wish.deed == "push" else kit.route.max_negotiation
        exchange.admit_body(limit)
        work = partial(_serve, kit, wish, limit)
        GitDialogue(exchange, OnLeave.CANCEL).start(kit.room.tasks, work)

    return serve


async def _serve(kit: GitKit, wish: Wish, limit: int, dialogue: Dialogue) -> None:
    exchange, started = dialogue.exchange, time.monotonic()
    permission = await kit.asker.ask(question_of(exchange))
    exchange.backend_s = time.monotonic() - started
    if isinstance(permission, Answer):
        _refuse(dialogue, permission)
        return
    if wish.deed not in permission.allow:
        raise BadAuthorizeAnswer(f"{wish.deed} is asked, {permission.allow} allowed")
    with kit.room.metrics.counted(wish.deed):
        try:
            async with asyncio.timeout(kit.room.git.timeout):
                await _converse(kit, wish, limit, dialogue, permission)
        except TimeoutError:
            raise GitTimeout(f"{wish.service} took over {kit.room.git.timeout:g} s") from None


def _refuse(dialogue: Dialogue, answer: Answer) -> None:
    """Unchanged: a client that may try again with a password learns it from this."""
    head = ResponseHead(answer.status, answer.reason, answer.headers)
    head.content_length = len(answer.body)
    dialogue.respond(head)
    dialogue.end(b"" if dialogue.exchange.head.method == b"HEAD" else answer.body)


async def _converse(
    kit: GitKit, wish: Wish, limit: int, dialogue: Dialogue, permission: AnyGitPermission
) -> None:
    room, head = kit.room, dialogue.exchange.head
    question = decoded(_pieces(dialogue.body), head.header(b"content-encoding"), limit)
    version = _version(head.header(b"git-protocol"), wish)
    process = await room.start(
        permission.repository,
        _arguments(wish),
        settings=permission.settings,
        variables={**permission.variables, **({"GIT_PROTOCOL": version} if version else {})},
        is_writing=wish.deed == "push",
    )
    held = Held(2 * limit, room.spill_dir)
    async with process, aclosing(answers(process, question, held)) as pieces:
        preface = _preface(wish) if wish.is_refs and version != "version=2" else b""
        await _pass_on(dialogue, wish, process, preface, pieces)


async def _pieces(body: BodyBuffer) -> AsyncIterator[bytes]:
    while piece := await body.read():
        yield piece


def _version(said: bytes | None, wish: Wish) -> str:
    """What of the client's Git-Protocol git is told: a version it may speak, and nothing else."""
    found = _version_of(said or b"")
    version = found[1].decode("ascii") if found else ""
    return "" if wish.deed == "push" and version == "version=2" else version


def _arguments(wish: Wish) -> tuple[str, ...]:
    refs = ("--advertise-refs",) if wish.is_refs else ()
    strict = ("--strict",) if wish.deed == "fetch" else ()
    return (wish.service.removeprefix("git-"), "--stateless-rpc", *refs, *strict, ".")


def _preface(wish: Wish) -> bytes:
    """Which service answers, as a pkt-line, then a flush-pkt (gitprotocol-http(5))."""
    line = f"# service={wish.service}\n"
    return f"{len(line) + 4:04x}{line}0000".encode()


async def _pass_on(
    dialogue: Dialogue,
    wish: Wish,
    process: GitProcess,
    preface: bytes,
    pieces: AsyncIterator[bytes],
) -> None:
    head = origin_head(200, [(b"Content-Type", wish.content_type), *_NEVER_KEPT])
    is_begun = False
    async for piece in pieces:
        if is_begun:
            await dialogue.write(piece)
        else:
            is_begun = True
            dialogue.respond(head)
            await dialogue.write(preface + piece)
    _judge(wish, await process.ended(), process.complaints.text, is_begun=is_begun)
    if not is_begun:
        dialogue.respond(head)
    dialogue.end()


def _judge(wish: Wish, status: int, complaints: str, *, is_begun: bool) -> None:
    """Raises GitFailed, unless the client has been told already.

    Once it has begun git says by its protocol what went wrong. Its exit alone says little: the
    first round of a shallow fetch ends with 128 when all is well.
    """
    if not status:
        return
    how = f"ended by signal {-status}" if status < 0 else f"exit {status}"
    if status < 0 or not is_begun or wish.is_refs:
        raise GitFailed(f"{wish.service}: {how}: {complaints}")
    log.info("%s: %s: %s", wish.service, how, complaints)
