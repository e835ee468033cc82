"""Objects of configured stores in a backend's place: of a bucket by a signed URL, of a directory as
the file it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from fastproxy.errors import BackendFault, BadOrder, NothingToSend, StoreRefused, StoreUnavailable
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.files import send_beneath
from fastproxy.senders.relay import asked, opened_stream, relay
from fastproxy.storage.contract import Source, Store
from fastproxy.storage.sender import NotThere, fault_of
from fastproxy.upstream.client import HttpClient

MAX_KEY: Final = 1024  # bytes; S3's limit
_PASSED: Final = frozenset({200, 206, 304, 412, 416})


class Object(msgspec.Struct):
    """The order: a key, and the store if there are several."""

    key: str
    store: str = "default"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A store, and the way to it."""

    store: Store
    client: HttpClient


def make_object_sender(shelves: Mapping[str, Shelf], timeout_s: float) -> Sender:
    """`shelves` by the names of their stores."""

    async def send(delivery: Delivery) -> None:
        order = delivery.parse(Object)
        shelf = shelves.get(order.store)
        if shelf is None or not order.key or len(order.key.encode()) > MAX_KEY:
            raise BadOrder("an object that may not be sent: of no store that is configured")
        method = "HEAD" if delivery.is_head else "GET"
        source = await shelf.store.source(order.key, method=method)
        if source.url:
            await _stream(delivery, shelf.client, method, source, timeout_s)
        else:
            await send_beneath(delivery, source.root, [name.encode() for name in source.names])

    return send


async def _stream(
    delivery: Delivery, client: HttpClient, method: str, source: Source, timeout_s: float
) -> None:
    """No detail of a fault holds the URL: its query is a secret."""
    stream = client.stream(method, source.url, asked(delivery), timeout_s)
    try:
        async with opened_stream(stream):
            if stream.status not in _PASSED:
                raise fault_of(f"{method} of an object to be sent", stream.status)
            names = (b"content-type", b"content-disposition")
            await relay(delivery, stream, ours=[name for name in names if delivery.kept(name)])
    except NotThere as fault:
        raise NothingToSend("no such object") from fault
    except BackendFault as fault:
        if isinstance(fault, BadOrder):
            raise
        raise StoreUnavailable(f"{method} of an object to be sent: {fault.kind}") from fault
    except ValueError as error:
        raise StoreRefused("a URL that cannot be spoken to") from error
