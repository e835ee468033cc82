"""A case as a client plays it: whole, byte by byte, or cut at every CR and LF; then the canaries.

Between two pieces the loop turns once, so the worker reads each by itself; nobody sleeps.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.conformance.site import new_id
from tests.support.client import Reply

# Below the limits of site.py; 33,000 bytes, one by one, take long beside other work.
PATIENCE_S = 30.0
_STEPS = 1500  # a case longer than that is sent in pieces of more than one byte
Address = tuple[str, int]


def _byte_by_byte(raw: bytes) -> list[bytes]:
    step = len(raw) // _STEPS + 1
    return [raw[at : at + step] for at in range(0, len(raw), step)]


def _cut_at_lines(raw: bytes) -> list[bytes]:
    """Between CR and LF, too."""
    return [piece for piece in re.split(rb"(?<=\r)|(?<=\n)", raw) if piece]


CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda raw: [raw],
    "bytes": _byte_by_byte,
    "lines": _cut_at_lines,
}


class Talk(asyncio.Protocol):
    """One client connection."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.raw = bytearray()  # all of it, for those who read it again
        self.is_over = False
        self._news = asyncio.Event()

    @classmethod
    async def open(cls, address: Address) -> "Talk":
        _, talk = await asyncio.get_running_loop().create_connection(cls, *address)
        return talk

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.raw += data
        self._news.set()

    def eof_received(self) -> bool:
        self.is_over = True
        self._news.set()
        return True  # what we still send is part of the play

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self._news.set()

    async def send(self, pieces: Sequence[bytes], *, eof: bool = False) -> None:
        for piece in pieces:
            if self.transport.is_closing():
                return  # what is sent behind a last request may meet a connection that has ended
            self.transport.write(piece)
            await asyncio.sleep(0)
        if eof and not self.transport.is_closing():
            self.transport.write_eof()

    async def more(self) -> bool:
        """Wait for bytes; False at the end of the connection."""
        if not self.is_over:
            self._news.clear()
            await self._news.wait()
        return not self.is_over

    async def reply(self, *, is_head: bool = False) -> Reply | None:
        """The next final answer; None when the connection ended before it was whole."""
        while True:
            while (end := self.buffer.find(b"\r\n\r\n")) < 0:
                if not await self.more():
                    return None
            reply = Reply(bytes(self.buffer[:end]))
            del self.buffer[: end + 4]
            if reply.status >= 200 or reply.status == 101:
                break
        if is_head or reply.status in (101, 204, 304):
            return reply
        return await self._body(reply)

    async def _body(self, reply: Reply) -> Reply | None:
        length = reply.header(b"content-length")
        if reply.header(b"transfer-encoding") is not None:
            return await self._chunks(reply)
        if length is None:
            await self.at_end()
            reply.body = bytes(self.buffer)
            self.buffer.clear()
            return reply
        if not await self._has(int(length)):
            return None
        reply.body = bytes(self.buffer[: int(length)])
        del self.buffer[: int(length)]
        return reply

    async def _has(self, size: int) -> bool:
        while len(self.buffer) < size:
            if not await self.more():
                return len(self.buffer) >= size
        return True

    async def _chunks(self, reply: Reply) -> Reply | None:
        while True:
            while (end := self.buffer.find(b"\r\n")) < 0:
                if not await self.more():
                    return None
            size = int(self.buffer[:end], 16)
            if not await self._has(end + 2 + size + 2):
                return None
            reply.body += self.buffer[end + 2 : end + 2 + size]
            del self.buffer[: end + 2 + size + 2]
            if not size:
                return reply

    async def at_end(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        while not self.is_over:
            await self.more()
        return not self.buffer

    def close(self) -> None:
        self.transport.abort()


@dataclass
class Outcome:
    """What a client saw. `trouble`: what must never be."""

    mark: bytes
    replies: list[Reply] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]


async def play(
    address: Address,
    raw: bytes,
    cut: str,
    *,
    answers: int,
    closes: bool,
    eof: bool = False,
    heads: frozenset[int] = frozenset(),
) -> Outcome:
    """Send `raw`, its marks filled in, and read `answers` answers.

    Then a canary on the same connection, or its end when it `closes`, and one on another
    connection. `heads`: which of the requests are HEAD.
    """
    outcome = Outcome(new_id())
    talk = await Talk.open(address)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await talk.send(CUTS[cut](raw.replace(b"$ID", outcome.mark)), eof=eof)
            for number in range(answers):
                reply = await talk.reply(is_head=number in heads)
                if reply is None:
                    break
                outcome.replies.append(reply)
            await canaries(address, outcome, talk, closes=closes)
    except TimeoutError:
        outcome.trouble.append(f"silence after {outcome.statuses}, {bytes(talk.buffer)!r}")
    finally:
        talk.close()
    return outcome


async def canaries(
    address: Address, outcome: Outcome, talk: Talk, *, closes: bool, host: bytes = b"canary"
) -> None:
    """One on the same connection, or its end, and one on another."""
    if not closes:
        await _canary(talk, outcome, b"same", host)
    elif not await talk.at_end():
        outcome.trouble.append(f"said more: {bytes(talk.buffer)!r}")
    other = await Talk.open(address)
    try:
        await _canary(other, outcome, b"other", host)
    finally:
        other.close()


async def _canary(talk: Talk, outcome: Outcome, where: bytes, host: bytes) -> None:
    target = b"/canary/%b/%b" % (outcome.mark, where)
    await talk.send([b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)])
    reply = await talk.reply()
    if reply is None or (reply.status, reply.body) != (200, target) or talk.buffer:
        got = reply and (reply.status, reply.body)
        outcome.trouble.append(f"canary on the {where.decode()} connection got {got}")
