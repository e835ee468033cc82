"""The admin process: /healthz, /readyz and /metrics, also when all workers are busy.

It has a process of its own, reads what the others write in shared memory, and holds no secret.
HTTP is kept to the least: one GET a connection.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Sequence
from http import HTTPStatus

import orjson

from fastproxy.observe import error_log, exposition
from fastproxy.observe.metrics import Board

HEAD_BYTES = 8 << 10
HEAD_SECONDS = 5.0
MAX_CONNECTIONS = 64

log = logging.getLogger(__name__)

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[HTTPStatus, str, bytes]  # status, content type, body


def run_admin(listener: socket.socket, boards: Sequence[Board], lifeline: int) -> None:
    """Serve until SIGQUIT, or until the master is gone."""
    asyncio.run(_Admin(boards).serve(listener, lifeline))


class _Admin:
    def __init__(self, boards: Sequence[Board]) -> None:
        self._boards = boards
        self._open = 0

    async def serve(self, listener: socket.socket, lifeline: int) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGQUIT, ended.set)
        loop.add_signal_handler(signal.SIGUSR1, error_log.reopen)
        # The master's last workers are still to be watched when the terminal says ^C, or when a
        # supervisor sends SIGTERM to the whole group.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        loop.add_reader(lifeline, ended.set)
        server = await asyncio.start_server(self._connected, sock=listener, limit=HEAD_BYTES)
        await ended.wait()
        loop.remove_reader(lifeline)
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        if running:
            await asyncio.wait(running, timeout=HEAD_SECONDS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(HEAD_SECONDS):
                    await self._exchange(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client left or dawdled
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer: Answer = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TEXT, b"")
            is_head = False
        else:
            method, _, rest = head.partition(b" ")
            is_head = method == b"HEAD"
            answer = respond(method, rest.partition(b" ")[0], self._boards)
        writer.write(_encode(answer, with_body=not is_head))
        await writer.drain()


def respond(method: bytes, target: bytes, boards: Sequence[Board]) -> Answer:
    """The answer to one request; `boards` begins with the current generation's."""
    if method not in (b"GET", b"HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n"
    match target.partition(b"?")[0]:
        case b"/healthz":
            return HTTPStatus.OK, _JSON, orjson.dumps({"status": "ok"})
        case b"/readyz":
            return _readiness(boards[0])
        case b"/metrics":
            return HTTPStatus.OK, exposition.CONTENT_TYPE, exposition.expose(boards)
    return HTTPStatus.NOT_FOUND, _TEXT, b"known: /healthz /readyz /metrics\n"


def _readiness(board: Board) -> Answer:
    gauges = board.master.family("fastproxy_workers")
    workers = {state: int(cell.value) for state, cell in gauges.items()}
    if workers["ready"]:
        return HTTPStatus.OK, _JSON, orjson.dumps({"ready": True, "workers": workers})
    reason = "draining" if workers["draining"] else "no worker is ready"
    body = {"ready": False, "reason": reason, "workers": workers}
    return HTTPStatus.SERVICE_UNAVAILABLE, _JSON, orjson.dumps(body)


def _encode(answer: Answer, *, with_body: bool) -> bytes:
    status, content_type, body = answer
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
