"""Any ASGI 3 application as the handler of a route.

As with other ASGI servers an application is not cancelled when its client leaves: `receive` gives
`http.disconnect` and `send` raises OSError.
"""

from enum import Enum
from typing import Final

from fastproxy.config.schema import AsgiRoute
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Dialogue, ExchangeOver, OnLeave, Tasks
from fastproxy.handlers.origin import TEXT, origin_head, request_fields, request_path
from fastproxy.handlers.python.asgi_types import ASGI, Application, Message, Scope
from fastproxy.handlers.python.imported import import_callable
from fastproxy.handlers.python.lifespan import Lifespan
from fastproxy.message import ResponseHead

_NO_WEBSOCKETS: Final = b"501 ours: asgi routes have no websockets; proxy routes have\n"


class AsgiApplication:
    """One mounted application: `start`, then call it for each exchange, then `stop`.

    Raises what importing the application raises.
    """

    def __init__(self, route: AsgiRoute, tasks: Tasks) -> None:
        self._application: Application = import_callable(route.application)
        self._root_path = route.root_path.rstrip("/")
        self._max_body = route.max_body
        self._tasks = tasks
        self._lifespan = Lifespan(self._application, route.application)

    async def start(self) -> None:
        """Run the application's start-up. Raises StartupFailed."""
        await self._lifespan.start()

    async def stop(self) -> None:
        """Run the application's shutdown. Stop the tasks before."""
        await self._lifespan.stop()

    def __call__(self, exchange: Exchange) -> None:
        """Serve one exchange. Raises BodyTooLarge."""
        if exchange.head.upgrade.lower() == b"websocket":
            exchange.answer(501, origin_head(501, [TEXT]).headers, _NO_WEBSOCKETS)
            return
        # Without a limit of the route's own the one all exchanges begin with stays.
        exchange.admit_body(exchange.max_body if self._max_body is None else self._max_body)
        Dialogue(exchange, OnLeave.TELL).start(self._tasks, self._work)

    async def _work(self, dialogue: Dialogue) -> None:
        cycle = HttpCycle(dialogue)
        await self._application(self._scope(dialogue.exchange), cycle.receive, cycle.send)

    def _scope(self, exchange: Exchange) -> Scope:
        head = exchange.head
        raw_path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": dict(ASGI),
            "http_version": f"1.{head.minor_version}",
            "method": head.method.decode("ascii"),
            "scheme": exchange.scheme.decode("ascii"),
            "path": request_path(exchange),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": self._root_path,
            "headers": request_fields(exchange),
            # The port is not told to us when a trusted proxy names the client: 0, as elsewhere.
            "client": (exchange.remote_ip, 0) if exchange.remote_ip else None,
            "server": _server(exchange),
            "state": self._lifespan.state.copy(),
        }


def _server(exchange: Exchange) -> tuple[str, int] | None:
    """The name and port that the client asked for."""
    name, _, port = exchange.head.host.decode("ascii").rpartition(":")
    if not port.isdigit():
        name, port = exchange.head.host.decode("ascii"), ""
    default = 443 if exchange.scheme == b"https" else 80
    return (name.strip("[]"), int(port or default)) if name else None


class Step(Enum):
    """What the application has to send next."""

    START = "start"
    BODY = "body"
    NOTHING = "nothing"


class HttpCycle:
    """`receive` and `send` of one request."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._step = Step.START
        self._head: ResponseHead | None = None  # held until the first of the body, as the spec says
        self._is_body_given = False

    async def receive(self) -> Message:
        """`http.request` until the body is given, then `http.disconnect` once the exchange is over.

        The first call is what answers `Expect: 100-continue`.
        """
        dialogue = self._dialogue
        if self._is_body_given:
            await dialogue.over()
            return {"type": "http.disconnect"}
        try:
            data = await dialogue.body.read()
        except ExchangeOver:
            return {"type": "http.disconnect"}
        self._is_body_given = dialogue.body.is_exhausted
        return {"type": "http.request", "body": data, "more_body": not self._is_body_given}

    async def send(self, message: Message) -> None:
        """Raises OSError when the client has left, RuntimeError out of turn, ValueError if bad."""
        kind = message["type"]
        if self._dialogue.has_failed:
            raise ExchangeOver("the client has left")
        if kind == "http.response.start" and self._step is Step.START:
            self._head = origin_head(message["status"], message.get("headers", ()))
            self._step = Step.BODY
        elif kind == "http.response.body" and self._step is Step.BODY:
            await self._send_body(bytes(message.get("body", b"")), more=message.get("more_body"))
        else:
            raise RuntimeError(f"{kind} cannot be sent when {self._step.value} is due")

    async def _send_body(self, data: bytes, *, more: bool | None) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._dialogue.respond(self._with_length(head, data, more=more))
        if more:
            await self._dialogue.write(data)
        else:
            self._step = Step.NOTHING
            self._dialogue.end(data)

    def _with_length(self, head: ResponseHead, data: bytes, *, more: bool | None) -> ResponseHead:
        """A body in one piece has a known length; the empty one that answers HEAD tells nothing."""
        is_whole = not more and (data or self._dialogue.exchange.head.method != b"HEAD")
        if is_whole and head.content_length is None and head.status != 304:
            head.content_length = len(data)
        return head
