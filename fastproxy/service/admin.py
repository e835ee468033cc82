"""The admin process: /healthz, /readyz and /metrics, also when all workers are busy.

It has a process of its own, reads what the others write in shared memory, and holds no secret.
HTTP is kept to the least: one GET a connection, of which the oldest gives way when there are many.
"""

import asyncio
import ipaddress
import logging
import re
import signal
import socket
from collections.abc import Sequence
from http import HTTPStatus

import orjson

from fastproxy.observe import error_log, exposition
from fastproxy.observe.metrics import Board

HEAD_BYTES = 8 << 10
SECONDS = 5.0  # of one exchange
MAX_CONNECTIONS = 64

log = logging.getLogger(__name__)

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_NOT_NAMED = b"a name that is not in server.admin_hosts\n"

_host = re.compile(rb"(?i)\r\nhost:([^\r\n]*)").search
_PORT = re.compile(r":[0-9]*\Z")

Answer = tuple[HTTPStatus, str, bytes]  # status, content type, body


def run_admin(
    listener: socket.socket, hosts: Sequence[str], boards: Sequence[Board], lifeline: int
) -> None:
    """Serve until SIGQUIT, or until the master is gone. `hosts`: names it goes by on TCP."""
    names = None if listener.family == socket.AF_UNIX else frozenset(map(str.lower, hosts))
    asyncio.run(_Admin(names, boards).serve(listener, lifeline))


class _Admin:
    def __init__(self, names: frozenset[str] | None, boards: Sequence[Board]) -> None:
        """`names` None: any."""
        self._names = names
        self._boards = boards
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first

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
            await asyncio.wait(running, timeout=SECONDS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) == MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(SECONDS):
                await self._exchange(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client left, dawdled or gave way
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer: Answer = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TEXT, b"")
            is_head = False
        else:
            method, _, rest = head.partition(b" ")
            is_head = method == b"HEAD"
            if self._names is None or is_named(head, self._names):
                answer = respond(method, rest.partition(b" ")[0], self._boards)
            else:
                answer = HTTPStatus.MISDIRECTED_REQUEST, _TEXT, _NOT_NAMED
        writer.write(_encode(answer, with_body=not is_head))
        await writer.drain()


def is_named(head: bytes, names: frozenset[str]) -> bool:
    """Whether the request's host cannot be a stranger's name that was led to our address, so that
    a page of theirs could read the answers (DNS rebinding).

    Safe are addresses, names without a dot, and `names`; and none, as browsers always send one.
    """
    found = _host(head)
    host = _PORT.sub("", found[1].decode("latin-1").strip().lower()) if found else ""
    if "." not in host or host in names:
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


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
