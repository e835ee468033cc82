"""One body from its buffer into a store: a single PUT when it is small, parts in parallel when not.

Whatever ends a transfer early, also cancellation, aborts what the store holds of it.
"""

import asyncio
import traceback
from functools import partial

from msgspec import Struct, field

from fastproxy.errors import (
    ClientGone,
    FastproxyError,
    MemoryShort,
    SizeMismatch,
    StoreTimeout,
    TooSlow,
)
from fastproxy.memory.account import Standing
from fastproxy.memory.buffered_part import BufferedPart
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import PartUpload, Store, Stored
from fastproxy.uploads.digests import Digests, Hashed
from fastproxy.uploads.live import LivePart
from fastproxy.uploads.plan import PartSizes


class Transfer(Struct):
    """What is to be done; `parts` counts those stored. `length` in bytes when it is known.

    `begun`: a multipart upload that exists already and must be completed or aborted.
    """

    store: Store
    key: str
    buffer: UploadBuffer
    digests: Digests
    content_type: str = ""
    length: int | None = None
    concurrency: int = 4
    expected: dict[str, str] = field(default_factory=dict)
    size: int | None = None  # what its length must be, also when it was not declared
    parts: int = 0
    begun: PartUpload | None = None

    async def run(self, timeout_s: float) -> Stored:
        """Store the body as it arrives; returns when the store has confirmed it.

        Raises StorageFault, DigestMismatch, SizeMismatch, ClientGone; at the deadline StoreTimeout,
        TooSlow or MemoryShort: whom the upload was waiting for.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._run()
        except TimeoutError as error:
            let_go(error)
            raise late(self.buffer, timeout_s) from None
        except BaseException as error:
            let_go(error)
            raise

    async def _run(self) -> Stored:
        if self.begun is not None:
            return await self._put_parts(self.begun)
        first = await self._first()
        if first.is_last or (self.buffer.is_finished and not self.buffer.parts_waiting):
            return await self._put_whole(first)
        return await self._put_parts(await self._begin(), first)

    def _judge(self) -> None:
        """All of it has come. Raises SizeMismatch, DigestMismatch."""
        if self.size is not None and self.buffer.total != self.size:
            raise SizeMismatch(f"{self.buffer.total} bytes, {self.size} required")
        self.digests.require(self.expected)

    async def _begin(self) -> PartUpload:
        return await self.store.begin(self.key, content_type=self.content_type, size=self.length)

    async def _first(self) -> BufferedPart:
        first = await self.buffer.next_part()
        if first is None:
            raise ClientGone("no body")
        return first

    async def _put_whole(self, part: BufferedPart) -> Stored:
        body = Hashed(part, self.digests)
        if self.expected:
            await body.read()
        self._judge()
        stored = await self.store.put(self.key, body, content_type=self.content_type)
        assert body.is_hashed  # noqa: S101 - a store has read what it has stored
        self.parts = 1
        part.release()
        return stored

    async def _put_parts(self, upload: PartUpload, first: BufferedPart | None = None) -> Stored:
        try:
            await self._send_all(upload, first or await self._first())
            self._judge()
            return await upload.complete(self.buffer.total)
        except BaseException:
            await upload.abort()
            raise

    async def _send_all(self, upload: PartUpload, first: BufferedPart) -> None:
        gate = asyncio.Semaphore(self.concurrency)
        part: BufferedPart | None = first
        try:
            async with asyncio.TaskGroup() as group:
                while part is not None:
                    await self.digests.update(part)
                    await gate.acquire()
                    group.create_task(self._send(upload, part, gate))
                    part = await self.buffer.next_part()
        except BaseExceptionGroup as failures:
            raise _first_fault(failures) from None

    async def _send(self, upload: PartUpload, part: BufferedPart, gate: asyncio.Semaphore) -> None:
        try:
            await upload.put_part(part)
        except BaseException as error:
            let_go(error)
            raise
        finally:
            part.release()
            gate.release()
        self.parts += 1


def late(buffer: UploadBuffer, timeout_s: float) -> FastproxyError:
    """The fault when an upload took longer than that: whom it was waiting for."""
    detail, standing = f"not stored within {timeout_s:g} s", buffer.account.standing
    if standing in (Standing.QUEUED, Standing.LINED):
        return MemoryShort(detail)
    if buffer.is_finished or buffer.parts_waiting or standing is Standing.HELD:
        return StoreTimeout(detail)
    return TooSlow(detail)


def let_go(error: BaseException) -> None:
    """Clear the frames of a failure: who keeps it would keep their views, and so the slabs."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def _first_fault(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """One fault for all parts: the first that has a name."""
    flat = list(_flatten(failures))
    return next((error for error in flat if isinstance(error, FastproxyError)), flat[0])


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


class LiveTransfer(Transfer):
    """The same without holding parts: one after another, sent while they arrive."""

    sizes: PartSizes = lambda number: 1

    async def _run(self) -> Stored:
        length = self.length or 0
        if self.begun is None and length <= self.sizes(1):
            judge = partial(self.digests.require, self.expected)
            whole = LivePart(self.buffer, self.digests, 1, 0, length, judge)
            stored = await self.store.put(self.key, whole, content_type=self.content_type)
            self.parts = 1
            return stored
        upload = self.begun or await self._begin()
        try:
            await self._send_live(upload, length)
            self.digests.require(self.expected)
            return await upload.complete(length)
        except BaseException:
            await upload.abort()
            raise

    async def _send_live(self, upload: PartUpload, length: int) -> None:
        offset = 0
        while offset < length:
            size = min(self.sizes(self.parts + 1), length - offset)
            await upload.put_part(LivePart(self.buffer, self.digests, self.parts + 1, offset, size))
            self.parts += 1
            offset += size
