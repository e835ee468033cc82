"""Another server's answer in a backend's place: streamed, with its ranges and conditions."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from fastproxy.errors import BackendFault, BackendTimeout, ConnectTimeout
from fastproxy.handlers.static.conditions import Validators, is_range_current
from fastproxy.message import Headers, RequestHead
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

# Without these the bytes would be taken for others.
_OF_THE_BYTES: Final = frozenset({b"content-range", b"content-encoding"})
_NEVER: Final = frozenset({b"set-cookie", b"set-cookie2"})
_RANGES: Final = frozenset({b"range", b"if-range"})
_NONE: Final[Headers] = ()  # type: ignore[assignment] # an empty tuple has nothing to change


def asked(delivery: Delivery, ordered: Headers = _NONE) -> Headers:
    """What a client says of the bytes it wants; nothing that says who it is.

    All of them, when the first ones are to be looked at, or when the order says itself which.
    """
    head = delivery.request
    if head.method not in (b"GET", b"HEAD") or delivery.detects:
        return []
    if any(name.lower() in _ASKED for name, _ in ordered):
        return []
    # A range is for GET alone (RFC 9110 section 14.2), though S3 and others take it for HEAD, too.
    names = _ASKED if head.method == b"GET" else _ASKED - _RANGES
    return [field for field in head.headers if field[0].lower() in names]


def is_of_another_version(head: RequestHead, stream: Stream) -> bool:
    """Whether a range must not be given, though the server does: it may not know If-Range."""
    return (
        stream.status in (206, 416)
        and head.header(b"if-range") is not None
        and not is_range_current(head, Validators.told(stream.headers))
    )


def without_range(fields: Headers) -> Headers:
    """The same of all bytes."""
    return [field for field in fields if field[0].lower() not in _RANGES]


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
    first: Headers = _NONE,
    ours: Collection[bytes] = (),
    passed: frozenset[bytes] | None = None,
) -> None:
    """Give the stream's answer; `first`: fields before its own, `ours`: names not taken of it.

    `passed`: names of its fields that are passed on, None: those that do no harm.
    """
    own = {name.lower() for name, _ in first} | set(ours)
    told = _told(stream, _TOLD if passed is None else (passed | _OF_THE_BYTES) - _NEVER, own)
    if passed is not None:
        told = [_single(field) for field in told]
    if delivery.is_head:
        delivery.respond(stream.status, [*first, *told], stream.length)
        delivery.end()
        return
    pieces = stream.pieces()
    begun = await _first_of(pieces) if delivery.detects else b""
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


def _told(stream: Stream, names: Collection[bytes], own: Collection[bytes]) -> Headers:
    told = [
        (name, value)
        for name, value in stream.headers
        if name.lower() in names and name.lower() not in own
    ]
    if 300 <= stream.status < 400:
        return told
    return [field for field in told if field[0].lower() != b"location"]


def _single(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """As Workhorse: where fields are restricted, no body has parts with fields of their own."""
    name, value = field
    if name.lower() == b"content-type" and value.strip().lower().startswith(b"multipart"):
        return name, b"application/octet-stream"
    return field


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
