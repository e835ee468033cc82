"""Another server's answer in a backend's place: streamed, with its ranges and conditions."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from fastproxy.errors import BackendFault, BackendTimeout, ConnectTimeout
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery
from fastproxy.senders.detection import LOOKED_AT, detected
from fastproxy.upstream.stream import Stream

_ASKED: Final = frozenset({
    b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since",
    b"if-unmodified-since",
})  # fmt: skip
# Nothing else of its head is passed on: cookies of another host, or what it says to browsers.
_TOLD: Final = frozenset({
    b"accept-ranges", b"content-disposition", b"content-encoding", b"content-language",
    b"content-range", b"content-type", b"etag", b"last-modified", b"location", b"vary",
})  # fmt: skip


def asked(delivery: Delivery) -> Headers:
    """What a client says of the bytes it wants; nothing that says who it is.

    All of them, when the first ones are to be looked at.
    """
    head = delivery.request
    if head.method not in (b"GET", b"HEAD") or delivery.detects:
        return []
    return [field for field in head.headers if field[0].lower() in _ASKED]


@asynccontextmanager
async def opened_stream(stream: Stream) -> AsyncIterator[Stream]:
    """With its head. Raises BackendFault; nothing of it goes on afterwards."""
    try:
        await stream.open()
        yield stream
    finally:
        stream.close()


async def relay(
    delivery: Delivery,
    stream: Stream,
    *,
    first: Headers = (),  # type: ignore[assignment] # an empty tuple has nothing to change
    ours: Collection[bytes] = (),
) -> None:
    """Give the stream's answer; `first`: fields before its own, `ours`: names not taken of it."""
    own = {name.lower() for name, _ in first} | set(ours)
    told = [
        (name, value)
        for name, value in stream.headers
        if name.lower() in _TOLD and name.lower() not in own
    ]
    if not 300 <= stream.status < 400:
        told = [field for field in told if field[0].lower() != b"location"]
    pieces = stream.pieces()
    begun = await _first_of(pieces) if delivery.detects and not delivery.is_head else b""
    if begun:
        shown = detected(begun[:LOOKED_AT], delivery.kept(b"content-disposition"))
        names = {name.lower() for name, _ in shown}
        told = [field for field in [*first, *told] if field[0].lower() not in names]
        first = shown
    delivery.respond(stream.status, [*first, *told], stream.length)
    await delivery.write(begun)
    async for piece in pieces:
        await delivery.write(piece)
    delivery.end()


async def _first_of(pieces: AsyncIterator[bytes]) -> bytes:
    begun = b""
    async for piece in pieces:
        begun += piece
        if len(begun) >= LOOKED_AT:
            break
    return begun


def is_timeout(fault: BackendFault) -> bool:
    """Whether the other server was too slow."""
    return isinstance(fault, BackendTimeout | ConnectTimeout)
