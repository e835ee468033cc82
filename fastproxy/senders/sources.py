"""Bytes that an order names, read by ranges: objects of stores, files, what listed hosts have."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from fastproxy.errors import BadOrder, NothingToSend, OwnFault, StoreMismatch
from fastproxy.handlers.static.beneath import Forbidden, NotServed, open_beneath
from fastproxy.loop.threads import opened
from fastproxy.senders.files import beneath_one_of
from fastproxy.senders.objects import client_for
from fastproxy.senders.store_client import StoreClient
from fastproxy.senders.urls.sender import UrlSenders
from fastproxy.storage.contract import Excerpt
from fastproxy.storage.sender import NotThere

Read = Callable[[int, int], Awaitable[Excerpt]]  # (start, length)

_MOST: Final = 512 << 10  # bytes of one read


class Sources(Struct, frozen=True):
    """What one backend may name. `urls`: None when it may name no hosts."""

    store_clients: Mapping[str, StoreClient]
    files: Sequence[str]
    urls: UrlSenders | None = None

    def object(self, store: str, key: str) -> "Source":
        """Raises BadOrder."""
        store_client = client_for(self.store_clients, store, key)

        async def read(start: int, length: int) -> Excerpt:
            try:
                return await store_client.store.read(key, start, length)
            except NotThere as fault:
                raise NothingToSend("no such object") from fault

        return Source(read)

    def file(self, path: str) -> "Source":
        """By its absolute path. Raises BadOrder."""
        root, names = beneath_one_of(self.files, path)

        async def read(start: int, length: int) -> Excerpt:
            try:
                async with opened(partial(open_beneath, root, names)) as file:
                    tag = f"{file.mtime_ns:x}"
                    return Excerpt(file.read_at(start, length), file.size, tag)
            except NotServed as reason:
                raise NothingToSend(f"no such file beneath {root}") from reason
            except Forbidden as reason:
                raise OwnFault(f"a file beneath {root} cannot be read") from reason

        return Source(read)

    def location(self, text: str) -> "Source":
        """A path, or a URL. Raises BadOrder."""
        if not text.startswith(("http://", "https://")):
            return self.file(text)
        urls = self.urls
        if urls is None:
            raise BadOrder("a URL, and no hosts are configured")
        return Source(partial(urls.read, text))


class Source:
    """One of them. Its size is known after the first read.

    Every read must be of the version that the first one was of: parts of two would pass for one.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._version = ("", 0)
        self.size = -1

    async def look(self) -> int:
        """How large it is, in bytes. Raises NothingToSend, BackendFault, StorageFault."""
        first = await self._read(0, 1)
        self.size, self._version = first.size, (first.etag, first.modified)
        return self.size

    async def read(self, start: int, length: int) -> bytes:
        """Exactly these bytes. Raises StoreMismatch when it became another thing meanwhile."""
        found = bytearray()
        while len(found) < length:
            asked = min(length - len(found), _MOST)
            some = await self._read(start + len(found), asked)
            version = (some.etag, some.modified)
            if len(some.data) != asked or some.size != self.size or version != self._version:
                raise StoreMismatch("what is being sent was replaced meanwhile")
            found += some.data
        return bytes(found)
