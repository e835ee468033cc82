"""A backend that keeps every byte of every connection, and answers each request with its target.

It reads with h11 as bytes come, only to know when to answer; what it was really sent is judged
afterwards, by `parsers`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import h11

from tests.conformance.parsers import Message, message

_MAX_EVENT: Final = 1 << 24
Answer = Callable[["WitnessConnection", Message], bytes | None]


def echo(connection: "WitnessConnection", request: Message) -> bytes | None:
    """What a canary looks for: the answer to its own question."""
    body = b"" if request.method == b"HEAD" else request.target
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.target), body)


class WitnessConnection(asyncio.Protocol):
    """One connection. `stream`: every byte; `served`: requests answered."""

    def __init__(self, witness: "Witness") -> None:
        self._witness = witness
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_EVENT)
        self._head: h11.Request | None = None
        self._body = b""
        self._is_last = False  # a request that said it was; what still comes is only kept
        self.stream = bytearray()
        self.served = 0
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._witness.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self.stream += data
        if self._is_last:
            return
        try:
            self._parser.receive_data(data)
            while self._take(self._parser.next_event()):
                pass
        except h11.RemoteProtocolError:
            self.transport.close()  # the stream is judged later

    def _take(self, event: object) -> bool:
        """Whether there may be more."""
        if isinstance(event, h11.Request):
            self._head, self._body = event, b""
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self._answer()
        else:
            return False
        return True

    def _answer(self) -> None:
        assert self._head is not None
        head = self._head
        fields = [(bytes(name), bytes(value)) for name, value in head.headers]
        request = message(bytes(head.method), bytes(head.target), fields, self._body)
        self._parser.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
        self._parser.send(h11.EndOfMessage())
        self.served += 1
        if (answer := self._witness.answer(self, request)) is not None:
            self.transport.write(answer)
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
        else:
            self._is_last = True


class Witness:
    """All connections of one backend. `answer` may be exchanged, and may write for itself."""

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
        self.connections: list[WitnessConnection] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: WitnessConnection(self), "127.0.0.1", 0, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
        await self._server.wait_closed()
