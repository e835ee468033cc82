"""One connection to a backend, by itself: how much of a head is read, however it was cut."""

import asyncio

import pytest

from fastproxy.errors import BackendFault
from fastproxy.loop.deadlines import Deadlines
from fastproxy.message import ResponseHead
from fastproxy.upstream.connection import MAX_HEAD_BYTES, UpstreamConnection
from fastproxy.wire.scratch import Scratch
from tests.express.transports import Transport


class Home:
    def give_back(self, connection: UpstreamConnection) -> None:
        """Nobody else wants it."""

    def lost(self, connection: UpstreamConnection) -> None:
        """Nobody counts it."""


class Wire(Transport):
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is written here."""


class Receiver:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def response_head(self, head: ResponseHead) -> None:
        self.heard.append(str(head.status))

    def response_data(self, pieces: list[memoryview]) -> None:
        """Without interest."""

    def response_flush(self) -> None:
        """Without interest."""

    def response_end(self) -> None:
        self.heard.append("end")

    def response_failed(self, fault: BackendFault) -> None:
        self.heard.append(fault.detail)


def answered(pieces: list[bytes]) -> list[str]:
    """What is heard of an answer that comes in these pieces."""

    async def main() -> list[str]:
        loop, receiver = asyncio.get_running_loop(), Receiver()
        connection = UpstreamConnection(Home(), Scratch(), Deadlines(loop), copies=True)
        transport = Wire(loop, "192.0.2.1", narrow=False)
        transport.connect(connection)
        connection.begin(receiver, b"GET", 60)
        connection.is_request_sent = True
        for piece in pieces:
            if not transport.is_closing():
                connection.get_buffer(-1)[: len(piece)] = piece
                connection.buffer_updated(len(piece))
        for each in (transport.sock, transport.far):
            each.close()
        return receiver.heard

    return asyncio.run(main())


def head_of(size: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: "
    return head.ljust(size - 4, b"b") + b"\r\n\r\n"


@pytest.mark.parametrize("cut", [0, 1, 1000, 40_000, MAX_HEAD_BYTES - 4, MAX_HEAD_BYTES - 1])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 20_000])
def test_a_head_has_one_limit_however_it_was_cut(beyond: int, cut: int) -> None:
    raw = head_of(MAX_HEAD_BYTES + beyond)
    heard = answered([raw[:cut], raw[cut:]] if cut else [raw])
    assert heard == (["200", "end"] if beyond <= 0 else ["head too large"])
