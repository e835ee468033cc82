"""Any store with its writes journalled: what fails is taken back now, what a kill leaves, later."""

import secrets
import time
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import asdict, replace

from fastproxy.errors import StoreUnavailable
from fastproxy.storage.backoff import RetryPolicy, persist
from fastproxy.storage.contract import (
    REMOVABLE,
    Excerpt,
    Leftover,
    PartBody,
    PartUpload,
    Source,
    Stage,
    Store,
    Stored,
    StoreNeeds,
)
from fastproxy.storage.undoing import Undoing

ONCE = RetryPolicy(attempts=1)


class UndoUrls(Struct, frozen=True):
    """What takes back a write of a presigned store; see Leftover."""

    abort_url: str = ""
    delete_url: str = ""
    get_url: str = ""


NO_URLS = UndoUrls()


class TrackedStore:
    """`inner` with every write in a journal from before its first effect until it is settled.

    What `put` or `complete` gave is settled by `drop`, or by `report` and then `keep` or `drop`.
    `policy`: how often `begin` is tried.
    """

    def __init__(
        self,
        name: str,
        inner: Store,
        undoing: Undoing,
        urls: UndoUrls = NO_URLS,
        policy: RetryPolicy = ONCE,
    ) -> None:
        self._name = name
        self._inner = inner
        self._undoing = undoing
        self._journal = undoing.journal
        self._urls = urls
        self._policy = policy
        self._stored: dict[str, int] = {}  # by write id: unsettled entries

    @property
    def needs(self) -> StoreNeeds:
        """As the store within."""
        return self._inner.needs

    @property
    def place(self) -> str:
        """As the store within."""
        return self._inner.place

    async def prepare(self) -> None:
        """As the store within."""
        await self._inner.prepare()

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """Store a whole object; what a failed or cancelled attempt stored is removed soon after."""
        write_id = write_id or secrets.token_hex(8)
        entry = self._begin(key, Stage.COMPLETING, write_id)
        try:
            stored = await self._inner.put(key, body, content_type=content_type, write_id=write_id)
            return self.stored(entry, stored)
        except BaseException:
            self._undoing.start(entry, self._inner.undo)
            raise

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> "TrackedUpload":
        """Start a multipart upload; one whose id never reached us is looked for and aborted.

        Also when the next attempt succeeds: each has an entry of its own.
        """
        write_id = write_id or secrets.token_hex(8)
        return await persist(
            lambda: self._begin_once(key, content_type, size, write_id), self._policy
        )

    async def _begin_once(
        self, key: str, content_type: str, size: int | None, write_id: str
    ) -> "TrackedUpload":
        entry = self._begin(key, Stage.INTENT, write_id)
        upload = None
        try:
            inner = await self._inner.begin(
                key, content_type=content_type, size=size, write_id=write_id
            )
            upload = TrackedUpload(self, inner, entry)
            self.advance(entry, Stage.UPLOADING, upload_id=inner.upload_id)
        except BaseException:
            self._undoing.start(entry, self._inner.undo if upload is None else upload.undo)
            raise
        return upload

    def report(self, stored: Stored) -> None:
        """To be called before anybody is told of the object: from now on a crash leaves it.

        Not after: a crash between the two would remove an object somebody relies on. Raises
        StoreUnavailable when the journal cannot be written; nobody may be told then.
        """
        self.advance(self._stored[stored.write_id], Stage.REPORTED)

    def keep(self, stored: Stored) -> None:
        """The object is somebody else's now."""
        self._journal.end(self._stored.pop(stored.write_id))

    async def drop(self, stored: Stored) -> None:
        """Nobody wants it: remove what this write made. Never fails, but may take longer."""
        entry = self._stored.pop(stored.write_id)
        with suppress(StoreUnavailable):  # the next start would leave it, this process does not
            self.advance(entry, Stage.REFUSED)
        await self._undoing.undo(entry, self._inner.undo)

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """As the store within."""
        return await self._inner.read(key, start, length)

    async def source(self, key: str, *, method: str = "GET") -> Source:
        """As the store within."""
        return await self._inner.source(key, method=method)

    async def undo(self, left: Leftover) -> None:
        """As the store within."""
        await self._inner.undo(left)

    async def close(self) -> None:
        """Wait for what is being undone, then close the store within."""
        await self._undoing.close()
        await self._inner.close()

    def advance(self, entry: int, stage: Stage, *, upload_id: str = "", etag: str = "") -> None:
        """Write down how far an entry came. Raises StoreUnavailable."""
        left = self._journal.left(entry)
        known = replace(
            left, stage=stage, upload_id=upload_id or left.upload_id, etag=etag or left.etag
        )
        self._journal.update(entry, known)

    def stored(self, entry: int, stored: Stored) -> Stored:
        """The object is there. Raises StoreUnavailable."""
        self.advance(entry, Stage.STORED, etag=stored.etag)
        write_id = self._journal.left(entry).write_id
        self._stored[write_id] = entry
        return replace(stored, write_id=write_id)

    async def take_back(self, entry: int, upload: "TrackedUpload") -> None:
        """Undo a multipart upload. Never fails."""
        await self._undoing.undo(entry, upload.undo)

    async def undo_object(self, left: Leftover) -> None:
        """What is left to undo of a multipart upload that is aborted."""
        if left.stage in REMOVABLE:
            await self._inner.undo(replace(left, upload_id="", abort_url=""))

    def _begin(self, key: str, stage: Stage, write_id: str) -> int:
        left = Leftover(key, stage, time.time(), write_id, **asdict(self._urls))
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
        return self._store.stored(self._entry, stored)

    async def abort(self) -> None:
        """Remove every trace. Never fails: what the store does not let us remove is tried again."""
        await self._store.take_back(self._entry, self)

    async def undo(self, left: Leftover) -> None:
        """One attempt. Raises StorageFault."""
        await self._inner.abort()
        await self._store.undo_object(left)
