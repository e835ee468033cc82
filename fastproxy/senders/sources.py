"""Bytes that an order names, read by ranges: objects of stores, files, what listed hosts have."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastproxy.errors import BadOrder, NothingToSend, OwnFault, StoreMismatch
from fastproxy.handlers.beneath import Forbidden, NotServed, open_beneath
from fastproxy.handlers.threads import opened
from fastproxy.senders.files import beneath_one_of
from fastproxy.senders.objects import MAX_KEY, Shelf
from fastproxy.senders.urls import UrlSenders
from fastproxy.storage.sender import NotThere

Read = Callable[[int, int], Awaitable[tuple[bytes, int]]]  # (start, length): bytes, size of all

_MOST: Final = 512 << 10  # bytes of one read


@dataclass(frozen=True, slots=True)
class Sources:
    """What one backend may name. `urls`: None when it may name no hosts."""

    shelves: Mapping[str, Shelf]
    files: Sequence[str]
    urls: UrlSenders | None = None

    def object(self, store: str, key: str) -> "Source":
        """Raises BadOrder."""
        shelf = self.shelves.get(store)
        if shelf is None or not key or len(key.encode()) > MAX_KEY:
            raise BadOrder("an object that may not be sent: of no store that is configured")

        async def read(start: int, length: int) -> tuple[bytes, int]:
            try:
                excerpt = await shelf.store.read(key, start, length)
            except NotThere as fault:
                raise NothingToSend("no such object") from fault
            return excerpt.data, excerpt.size

        return Source(read)

    def file(self, path: str) -> "Source":
        """By its absolute path. Raises BadOrder."""
        root, names = beneath_one_of(self.files, path)

        async def read(start: int, length: int) -> tuple[bytes, int]:
            try:
                async with opened(partial(open_beneath, root, names)) as file:
                    return file.read_at(start, length), file.size
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
    """One of them. Its size is known after the first read."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.size = -1

    async def look(self) -> int:
        """How large it is, in bytes. Raises NothingToSend, BackendFault, StorageFault."""
        _, self.size = await self._read(0, 1)
        return self.size

    async def read(self, start: int, length: int) -> bytes:
        """Exactly these bytes. Raises StoreMismatch when it became another thing meanwhile."""
        found = bytearray()
        while len(found) < length:
            asked = min(length - len(found), _MOST)
            data, size = await self._read(start + len(found), asked)
            if len(data) != asked or size != self.size:
                raise StoreMismatch("what is being sent was replaced meanwhile")
            found += data
        return bytes(found)
