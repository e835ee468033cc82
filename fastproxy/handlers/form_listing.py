"""What is in a zip archive of a form, told as one more file of it: GitLab's artifacts metadata.

Once the archive is stored its directory is read back by ranges; the list is an object of its own.
An upload never fails of it: what is no zip, or too much of one, has none.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from fastproxy.errors import FastproxyError, StorageFault
from fastproxy.handlers.form_file import FileUpload
from fastproxy.storage.contract import Stored
from fastproxy.storage.tracked import TrackedStore
from fastproxy.uploads.digests import Digests
from fastproxy.uploads.form import StoredFile
from fastproxy.uploads.report import StoredUpload
from fastproxy.zips.directory import Limits, NotAZip, ReadRange, TooLarge, find_directory
from fastproxy.zips.metadata import gitlab_metadata

log = logging.getLogger("fastproxy.upload")

_AT_ONCE: Final = 2  # of one worker: each may hold all paths of an archive
_CONTENT_TYPE: Final = "application/gzip"


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is stored, and what the backend hears of it."""

    store: TrackedStore
    file: StoredFile
    stored: Stored
    is_temporary: bool

    def told(self) -> StoredFile:
        """See FileUpload."""
        return self.file

    def hand_over(self) -> Stored:
        """See FileUpload."""
        return self.stored

    async def give_up(self, fault: FastproxyError) -> None:
        """See FileUpload."""
        await self.store.drop(self.stored)


class Lister:
    """Of one route. `field`: under which name the lists are told; `name`: the store's."""

    def __init__(
        self, field: str, name: str, store: TrackedStore, members: int, timeout_s: float
    ) -> None:
        self._field = field
        self._name = name
        self._store = store
        self._limits = Limits(members=members)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def list(self, file: FileUpload) -> Listing | None:
        """The list of a file that is stored; None for what has none."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                return await self._list(file, began)
        except NotAZip:
            return None
        except (StorageFault, TimeoutError, TooLarge) as error:
            log.warning("an archive is told without what is in it: %s", error or "it took too long")
            return None

    async def _list(self, file: FileUpload, began: float) -> Listing:
        archive = file.told().upload
        read = reading(file.store, archive.key)
        place = await find_directory(read, archive.size)
        data, _ = await gitlab_metadata(read, place, self._limits)
        body, digests = _Whole(data), Digests(archive.hashes)
        await digests.update(body)
        key = f"{secrets.token_hex(16)}-metadata.gz"
        stored = await self._store.put(key, body, content_type=_CONTENT_TYPE)
        upload = StoredUpload(
            archive.id,
            self._name,
            stored.key,
            stored.path,
            stored.size,
            stored.etag,
            digests.hex(),
            _CONTENT_TYPE,
            duration=round(time.monotonic() - began, 6),
            name="metadata.gz",
        )
        return Listing(self._store, StoredFile(self._field, upload), stored, file.is_temporary)


def reading(store: TrackedStore, key: str) -> ReadRange:
    """An object as the room of zips reads it. Raises NotAZip where the object ends too early."""

    async def read(start: int, length: int) -> bytes:
        data = (await store.read(key, start, length)).data
        if len(data) != length:
            raise NotAZip("the object ends before")
        return data

    return read


@dataclass(frozen=True, slots=True)
class _Whole:
    """Bytes as the only part of an object. A PartBody."""

    data: bytes
    number: int = 1
    offset: int = 0
    is_retained: bool = True

    @property
    def size(self) -> int:
        """See PartBody."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """See PartBody."""
        yield (memoryview(self.data),)
