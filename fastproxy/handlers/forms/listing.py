"""What is in a zip archive of a form, told as one more file of it: GitLab's artifacts metadata.

Once the archive is stored its directory is read back by ranges; the list is an object of its own.
An upload never fails of it: what is no zip, or too much of one, has none.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qs

from msgspec import Struct

from fastproxy.config.schema import FormRoute
from fastproxy.errors import FastproxyError, StorageFault
from fastproxy.handlers.forms.file import FileUpload
from fastproxy.protocol import Dialect
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
_FORMAT: Final = b"zip"


class Listing(Struct, frozen=True):
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
    """Of one route. `store`, called `name`: of the lists that do not lie beside their archive."""

    def __init__(self, route: FormRoute, name: str, store: TrackedStore, dialect: Dialect) -> None:
        self._field = route.zip_metadata
        self._may_lie_beside = not route.zip_metadata_store
        self._name = name
        self._store = store
        self._dialect = dialect
        self._limits = Limits(members=route.zip_members)
        self._timeout_s = route.zip_timeout
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def wants(self, target: bytes) -> bool:
        """Whether the file of a request for `target` may have a list."""
        parameter = self._dialect.format_parameter.encode()
        formats = parse_qs(target.partition(b"?")[2]).get(parameter) if parameter else None
        return not formats or formats[0].lower() == _FORMAT

    async def list(self, file: FileUpload, request_id: str) -> Listing | None:
        """The list of a file that is stored; None for what has none."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                return await self._list(file, began)
        except NotAZip as reason:
            level, why = logging.INFO, f"no zip archive: {reason}"
        except (StorageFault, TimeoutError, TooLarge) as error:
            level, why = logging.WARNING, str(error) or "it took too long"
        about = {"request_id": request_id}
        log.log(level, "a file is told without what is in it: %s", why, extra=about)
        return None

    def _place(self, archive: StoredUpload, store: TrackedStore) -> tuple[str, TrackedStore, str]:
        """Of the list of an archive in `store`: the store's name, the store, and the key."""
        name = f"{secrets.token_hex(16)}-metadata.gz"
        if self._may_lie_beside and archive.path:
            return archive.store, store, str(PurePosixPath(archive.key).with_name(name))
        return self._name, self._store, name

    async def _list(self, file: FileUpload, began: float) -> Listing:
        archive = file.told().upload
        read = reading(file.store, archive.key)
        place = await find_directory(read, archive.size)
        data, _ = await gitlab_metadata(read, place, self._limits)
        body, digests = _Whole(data), Digests(archive.hashes)
        await digests.update(body)
        name, store, key = self._place(archive, file.store)
        stored = await store.put(key, body, content_type=_CONTENT_TYPE)
        moves = self._dialect.moves_lists
        upload = StoredUpload(
            "" if moves else archive.id,  # Rails would look for the archive instead
            name,
            stored.key,
            stored.path,
            stored.size,
            stored.etag,
            digests.hex(),
            _CONTENT_TYPE,
            duration=round(time.monotonic() - began, 6),
            name="metadata.gz",
        )
        listed = StoredFile(self._field, upload)
        return Listing(store, listed, stored, file.is_temporary or moves)


def reading(store: TrackedStore, key: str) -> ReadRange:
    """An object as the room of zips reads it. Raises NotAZip where the object ends too early."""

    async def read(start: int, length: int) -> bytes:
        data = (await store.read(key, start, length)).data
        if len(data) != length:
            raise NotAZip("the object ends before")
        return data

    return read


class _Whole(Struct, frozen=True):
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
