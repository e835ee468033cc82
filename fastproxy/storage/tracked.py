"""Any store with its writes journalled: what fails is taken back now, what a kill leaves, later."""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace

from fastproxy.errors import StorageFault
from fastproxy.storage.contract import (
    Leftover,
    PartBody,
    PartUpload,
    Stage,
    Store,
    Stored,
    StoreNeeds,
)
from fastproxy.storage.journal import Journal

SETTLE_S = 2.0  # after a write in doubt was undone, until the second look


class TrackedStore:
    """`inner` with every write in `journal` from before its first effect until `keep` or `delete`.

    `abort_url` and `delete_url`: what undoes a write of a presigned store.
    """

    def __init__(
        self,
        name: str,
        inner: Store,
        journal: Journal,
        abort_url: str = "",
        delete_url: str = "",
        settle_s: float = SETTLE_S,
    ) -> None:
        self._name = name
        self._inner = inner
        self._journal = journal
        self._urls = (abort_url, delete_url)
        self._settle_s = settle_s
        self._stored: dict[str, int] = {}
        self._undoing: set[asyncio.Task[None]] = set()

    @property
    def needs(self) -> StoreNeeds:
        """As the store within."""
        return self._inner.needs

    @property
    def place(self) -> str:
        """As the store within."""
        return self._inner.place

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """Store a whole object; what a failed or cancelled attempt stored is removed soon after."""
        write_id = write_id or secrets.token_hex(8)
        entry = self._begin(key, Stage.COMPLETING, write_id)
        try:
            stored = await self._inner.put(key, body, content_type=content_type, write_id=write_id)
            self.store(entry, stored)
        except BaseException:
            self.undo_entry(entry)
            raise
        return stored

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> "TrackedUpload":
        """Start a multipart upload; one whose id never reached us is looked for and aborted."""
        write_id = write_id or secrets.token_hex(8)
        entry = self._begin(key, Stage.INTENT, write_id)
        upload = None
        try:
            upload = await self._inner.begin(
                key, content_type=content_type, size=size, write_id=write_id
            )
            self.advance(entry, Stage.UPLOADING, upload_id=upload.upload_id)
        except BaseException:
            self.undo_entry(entry, upload)
            raise
        return TrackedUpload(self, upload, entry)

    async def delete(self, key: str) -> None:
        """Remove an object and its entry."""
        await self._inner.delete(key)
        self.keep(key)

    def keep(self, key: str) -> None:
        """End the entry. Raises StoreUnavailable when the journal cannot be written."""
        entry = self._stored.get(key)
        if entry is not None:
            self._journal.end(entry)
            del self._stored[key]

    async def undo(self, left: Leftover) -> None:
        """As the store within."""
        await self._inner.undo(left)

    async def close(self) -> None:
        """Wait for what is being undone, then close the store within."""
        while self._undoing:
            await asyncio.wait(self._undoing)
        await self._inner.close()

    def advance(self, entry: int, stage: Stage, *, upload_id: str = "", etag: str = "") -> None:
        """Write down how far an entry came. Raises StoreUnavailable."""
        left = self._journal.left(entry)
        upload_id = upload_id or left.upload_id
        self._journal.update(entry, replace(left, stage=stage, upload_id=upload_id, etag=etag))

    def store(self, entry: int, stored: Stored) -> None:
        """The object is there; it stays ours until `keep`. Raises StoreUnavailable."""
        self.advance(entry, Stage.STORED, etag=stored.etag)
        self.keep(stored.key)  # the object of an earlier write is replaced
        self._stored[stored.key] = entry

    def undo_entry(self, entry: int, upload: PartUpload | None = None) -> asyncio.Task[None]:
        """Take an entry back in the background; it may be awaited, and `close` awaits it.

        If the store does not let us, the next start tries again.
        """
        return self._start(self._undo(entry, upload))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        return task

    async def _undo(self, entry: int, upload: PartUpload | None) -> None:
        with suppress(StorageFault, KeyError):  # KeyError: undone before
            left = self._journal.left(entry)
            if upload is not None:
                await upload.abort()
            if upload is None or left.stage in (Stage.COMPLETING, Stage.STORED):
                await self._inner.undo(left if upload is None else replace(left, upload_id=""))
            if left.stage in (Stage.UPLOADING, Stage.COMPLETING):
                self._start(self._undo_again(entry, left))
            else:
                self._journal.end(entry)

    async def _undo_again(self, entry: int, left: Leftover) -> None:
        """A request that was given up may still take effect after the first look.

        A part that arrives late can bring an aborted upload back (S3 API, AbortMultipartUpload).
        """
        await asyncio.sleep(self._settle_s)
        with suppress(StorageFault):
            await self._inner.undo(left)
            self._journal.end(entry)

    def _begin(self, key: str, stage: Stage, write_id: str) -> int:
        abort_url, delete_url = self._urls
        left = Leftover(
            key, stage, time.time(), write_id, abort_url=abort_url, delete_url=delete_url
        )
        return self._journal.begin(self._name, self._inner.place, left)


class TrackedUpload:
    """A multipart upload with its entry."""

    def __init__(self, store: TrackedStore, inner: PartUpload, entry: int) -> None:
        self._store = store
        self._inner = inner
        self._entry = entry

    @property
    def upload_id(self) -> str:
        """As the upload within."""
        return self._inner.upload_id

    async def put_part(self, body: PartBody) -> None:
        """As the upload within."""
        await self._inner.put_part(body)

    async def complete(self, size: int) -> Stored:
        """Make the object visible. When this fails, `abort` removes it if it is there."""
        self._store.advance(self._entry, Stage.COMPLETING)
        stored = await self._inner.complete(size)
        self._store.store(self._entry, stored)
        return stored

    async def abort(self) -> None:
        """Remove every trace. Never fails: what the store does not let us remove is journalled."""
        # shielded: a cancelled caller does not stop it
        await asyncio.shield(self._store.undo_entry(self._entry, self._inner))
