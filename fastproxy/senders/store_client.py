"""Where objects are read from. Without senders it is all that is loaded of this room."""

from msgspec import Struct

from fastproxy.storage.contract import Store
from fastproxy.upstream.client import HttpClient


class StoreClient(Struct, frozen=True):
    """A store, and the way to it."""

    store: Store
    client: HttpClient
