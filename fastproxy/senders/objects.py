"""Objects of configured stores in a backend's place: of a bucket by a signed URL, of a directory as
the file it is."""

from collections.abc import Mapping
from typing import Final

import msgspec

from fastproxy.errors import (
    BackendFault,
    BadOrder,
    NothingToSend,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
)
from fastproxy.handlers.static.conditions import (
    Validators,
    forwarded,
    precondition_status,
    requested_spans,
)
from fastproxy.handlers.static.ranges import Unsatisfiable
from fastproxy.message import Headers
from fastproxy.protocol import MAX_KEY
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.files import send_beneath
from fastproxy.senders.relay import is_of_another_version, opened_stream, relay, without_range
from fastproxy.senders.store_client import StoreClient
from fastproxy.storage.contract import Source
from fastproxy.storage.sender import NotThere, fault_of
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.stream import Stream

_WITH_BODY: Final = frozenset({200, 206})
_PASSED: Final = _WITH_BODY | {304, 412, 416}
_OF_THE_VERSION: Final = frozenset({b"accept-ranges", b"etag", b"last-modified", b"vary"})


class Object(msgspec.Struct, forbid_unknown_fields=True):
    """The order: a key, and the store if there are several."""

    key: str
    store: str = "default"


def make_object_sender(store_clients: Mapping[str, StoreClient], timeout_s: float) -> Sender:
    """`store_clients` by the names of their stores."""

    async def send(delivery: Delivery) -> None:
        order = delivery.parse(Object)
        store_client = client_for(store_clients, order.store, order.key)
        method = "HEAD" if delivery.is_head else "GET"
        source = await store_client.store.source(order.key, method=method)
        if source.url:
            await _stream(delivery, store_client.client, method, source, timeout_s)
        else:
            await send_beneath(delivery, source.root, [name.encode() for name in source.names])

    return send


def client_for(store_clients: Mapping[str, StoreClient], store: str, key: str) -> StoreClient:
    """Of the store that an order names with a key. Raises BadOrder."""
    client = store_clients.get(store)
    if client is None or not key or len(key.encode()) > MAX_KEY:
        raise BadOrder("an object that may not be sent: of no store that is configured")
    return client


async def _stream(
    delivery: Delivery, client: HttpClient, method: str, source: Source, timeout_s: float
) -> None:
    """No detail of a fault holds the URL: its query is a secret."""
    wanted = [] if delivery.detects else forwarded(delivery.request)
    try:
        stream = client.stream(method, source.url, wanted, timeout_s)
        async with opened_stream(stream):
            if not is_of_another_version(delivery.request, stream):
                await _answer(delivery, stream)
                return
        stream = client.stream(method, source.url, without_range(wanted), timeout_s)
        async with opened_stream(stream):
            await _answer(delivery, stream)
    except NotThere as fault:
        raise NothingToSend("no such object") from fault
    except BackendFault as fault:
        if isinstance(fault, BadOrder):
            raise
        raise StoreUnavailable(f"{method} of an object to be sent: {fault.kind}") from fault
    except ValueError as error:
        raise StoreRefused("a URL that cannot be spoken to") from error


async def _answer(delivery: Delivery, stream: Stream) -> None:
    if stream.status not in _PASSED:
        raise fault_of("an object to be sent", stream.status)
    status, more = _judged(delivery, stream)
    if status not in _WITH_BODY:  # the store's own text names its bucket
        kept = [field for field in stream.headers if field[0].lower() in _OF_THE_VERSION]
        delivery.respond(status, [*kept, *more], None if status == 304 else 0)
        delivery.end()
        return
    if not delivery.is_head and not stream.tells_its_end:
        raise StoreMismatch("an object whose end the store does not tell")
    names = (b"content-type", b"content-disposition")
    await relay(delivery, stream, ours=[name for name in names if delivery.kept(name)])


def _judged(delivery: Delivery, stream: Stream) -> tuple[int, Headers]:
    """The status by the RFC, whatever the store made of conditions; and what goes with it."""
    head, status = delivery.request, stream.status
    if status == 416:
        told = stream.header(b"content-range")
        return status, [(b"Content-Range", told)] if told else []
    if status not in _WITH_BODY or head.method not in (b"GET", b"HEAD"):
        return status, []
    current = Validators.told(stream.headers)
    ours = precondition_status(head, current)
    if ours != 200 or status == 206 or stream.length is None or delivery.detects:
        return ours if ours != 200 else status, []
    try:
        requested_spans(head, current, stream.length)
    except Unsatisfiable:
        return 416, [(b"Content-Range", b"bytes */%d" % stream.length)]
    return status, []
