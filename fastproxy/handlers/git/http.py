"""git's smart HTTP protocol (gitprotocol-http(5)): ask the backend, then let git itself answer.

    ask --permitted--> hear a fetch out --> wait for a turn --> git runs: question in, answer out
                                                                --> its exit is judged
    refused: the backend's answer goes to the client, its body is not read

What of a route is not this protocol goes to the backend as by a proxy route.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from functools import partial
from typing import Final

from fastproxy.errors import BadAuthorizeAnswer, BadBody, GitFailed
from fastproxy.exchange import Exchange
from fastproxy.git.conversation import answers
from fastproxy.git.held import Held
from fastproxy.git.inflate import decoded
from fastproxy.git.permission import AnyGitPermission
from fastproxy.git.process import GitProcess
from fastproxy.handlers.coroutine import BodyBuffer, Dialogue, OnLeave
from fastproxy.handlers.git.kit import GitKit
from fastproxy.handlers.git.service_request import ServiceRequest, service_request_of
from fastproxy.handlers.origin import origin_head
from fastproxy.handlers.uploads.kit import question_of
from fastproxy.message import ResponseHead
from fastproxy.upstream.client import Answer

log = logging.getLogger("fastproxy.git")

Serve = Callable[[Exchange], None]

_NEVER_KEPT: Final = [
    (b"Expires", b"Fri, 01 Jan 1980 00:00:00 GMT"),
    (b"Pragma", b"no-cache"),
    (b"Cache-Control", b"no-cache, max-age=0, must-revalidate"),
    (b"X-Accel-Buffering", b"no"),
]
# What git says of a question that is none, or half of one.
_NONSENSE: Final = ("protocol error", "the remote end hung up")


class GitDialogue(Dialogue):
    """Known by its type: at a drain it has the time that uploads have."""


def make_git(kit: GitKit) -> Serve:
    """The handler of a route."""

    def serve(exchange: Exchange) -> None:
        request = service_request_of(exchange)
        if request is None:
            kit.elsewhere(exchange)
            return
        limit = kit.route.max_push if request.operation == "push" else kit.route.max_negotiation
        exchange.admit_body(limit)
        work = partial(_serve, kit, request, limit)
        GitDialogue(exchange, OnLeave.CANCEL).start(kit.room.tasks, work)

    return serve


async def _serve(kit: GitKit, request: ServiceRequest, limit: int, dialogue: Dialogue) -> None:
    exchange, started = dialogue.exchange, time.monotonic()
    permission = await kit.asker.ask(question_of(exchange))
    exchange.backend_s = time.monotonic() - started
    if isinstance(permission, Answer):
        _refuse(dialogue, permission)
        return
    if request.operation not in permission.allow:
        raise BadAuthorizeAnswer(f"{request.operation} is asked, {permission.allow} allowed")
    async with kit.room.operation(request.operation):
        await _converse(kit, request, limit, dialogue, permission)


def _refuse(dialogue: Dialogue, answer: Answer) -> None:
    """Unchanged: a client that may try again with a password learns it from this."""
    head = ResponseHead(answer.status, answer.reason, answer.headers)
    head.content_length = len(answer.body)
    dialogue.respond(head)
    dialogue.end(b"" if dialogue.exchange.head.method == b"HEAD" else answer.body)


async def _converse(
    kit: GitKit,
    request: ServiceRequest,
    limit: int,
    dialogue: Dialogue,
    permission: AnyGitPermission,
) -> None:
    room, head = kit.room, dialogue.exchange.head
    body, coding = _pieces(dialogue.body), head.header(b"content-encoding")
    version = request.version(head.header(b"git-protocol"))
    with closing(Held(limit, room.disk, room.spill_dir)) as asked:
        question = decoded(body if request.has_pack else asked.drain(), coding, limit)
        if not request.has_pack:
            await _keep(asked, body)
        process = await room.start(
            permission.repository,
            request.arguments,
            settings=permission.settings,
            variables={**permission.variables, **({"GIT_PROTOCOL": version} if version else {})},
            is_writing=request.operation == "push",
        )
        early = Held(2 * limit, room.disk, room.spill_dir)
        async with process, aclosing(answers(process, question, early)) as pieces:
            await _pass_on(dialogue, request, process, request.preface(version), pieces)


async def _keep(asked: Held, body: AsyncIterator[bytes]) -> None:
    """Nobody has a turn before he has said all that he wants."""
    async for piece in body:
        await asked.put(piece)


async def _pieces(body: BodyBuffer) -> AsyncIterator[bytes]:
    while piece := await body.read():
        yield piece


async def _pass_on(
    dialogue: Dialogue,
    request: ServiceRequest,
    process: GitProcess,
    preface: bytes,
    pieces: AsyncIterator[bytes],
) -> None:
    head = origin_head(200, [(b"Content-Type", request.content_type), *_NEVER_KEPT])
    is_begun = False
    async for piece in pieces:
        if is_begun:
            await dialogue.write(piece)
        else:
            is_begun = True
            dialogue.respond(head)
            await dialogue.write(preface + piece)
    _judge(request, await process.ended(), process.complaints.text, is_begun=is_begun)
    if not is_begun:
        dialogue.respond(head)
    dialogue.end()


def _judge(request: ServiceRequest, status: int, complaints: str, *, is_begun: bool) -> None:
    """Raises GitFailed, or BadBody for what git calls nonsense; unless the client has been told.

    Once it has begun git says by its protocol what went wrong. Its exit alone says little: the
    first round of a shallow fetch ends with 128 when all is well.
    """
    if not status:
        return
    how = f"ended by signal {-status}" if status < 0 else f"exit {status}"
    if not is_begun and any(words in complaints for words in _NONSENSE):
        raise BadBody(f"{request.service}: {complaints}")
    if status < 0 or not is_begun or request.is_refs:
        raise GitFailed(f"{request.service}: {how}: {complaints}")
    log.info("%s: %s: %s", request.service, how, complaints)
