"""A local directory as a store: temporary file, fsync, rename.

The object's name appears in one step and replaces what was there, as S3 does. Parts are written at
their offsets, so they may have any size and come in any order. Blocking calls run in a few threads.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar

from fastproxy.errors import StoreMismatch, StoreRefused, StoreUnavailable
from fastproxy.loop.threads import in_thread_of
from fastproxy.storage.contract import (
    REMOVABLE,
    Excerpt,
    Leftover,
    PartBody,
    Source,
    Stored,
    StoreNeeds,
)
from fastproxy.storage.folder import Folder, etag_of, segments

P = ParamSpec("P")
T = TypeVar("T")

IOV_MAX = 1024  # views in one pwritev(2)
NEEDS = StoreNeeds(
    min_part=1, part_size=1 << 20, max_part=1 << 40, max_parts=1 << 40, max_object=1 << 60
)
BUSY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class LocalStore:
    """Objects as files (0600, directories 0700) beneath `path`; keys with `/` make directories."""

    def __init__(self, path: str, fsync: bool = True, threads: int = 4) -> None:
        """Make the directory and sweep what dead processes left. Raises StorageFault."""
        with _faults(path):
            self._folder = Folder(path, fsync)
        self._threads = ThreadPoolExecutor(threads, "fastproxy-local-store")

    @property
    def needs(self) -> StoreNeeds:
        """Any size, any number of parts."""
        return NEEDS

    @property
    def place(self) -> str:
        """`file:` and the absolute path."""
        return f"file:{self._folder.path}"

    async def prepare(self) -> None:
        """There is nothing to wait for."""

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """Store a whole object; `content_type` has no place in a file system."""
        upload = await self.begin(key, size=body.size, write_id=write_id)
        try:
            await upload.put_part(body)
            return await upload.complete(body.size)
        except BaseException:
            await upload.abort()
            raise

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> "LocalUpload":
        """Open an unfinished file. Raises StoreRefused for a key that leads elsewhere."""
        segments(key)
        upload = LocalUpload(self, self._folder, key)
        try:
            await self.run(upload.open, write_id)
        except BaseException:
            await upload.abort()
            raise
        return upload

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """Some of a file."""
        return await self.run(self._folder.read, key, start, length)

    async def source(self, key: str, *, method: str = "GET") -> Source:
        """A file. Raises StoreRefused for a key that leads elsewhere."""
        return Source(root=self._folder.path, names=tuple(segments(key)))

    async def undo(self, left: Leftover) -> None:
        """Remove the object if the write made it; unfinished files are swept at the start."""
        if left.stage in REMOVABLE:
            await self.run(self._remove_own, left)

    async def close(self) -> None:
        """End the threads and remove unfinished files. Idempotent."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._folder.close)

    def _remove_own(self, left: Leftover) -> None:
        def is_own(stat: os.stat_result) -> bool:
            # not every file system has attributes; without one only a noted inode tells
            return etag_of(stat) == left.etag or self._folder.mark(left.key) == left.write_id

        with suppress(StoreRefused):  # a key that was refused: nothing was ever written there
            self._folder.remove_if(left.key, is_own)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in one of our threads. Raises StorageFault."""
        with _faults(self._folder.path):
            return await in_thread_of(self._threads, lambda: call(*args, **kwargs))


class LocalUpload:
    """One unfinished file. The lock keeps its descriptor open while a thread writes to it."""

    def __init__(self, store: LocalStore, folder: Folder, key: str) -> None:
        self._store = store
        self._folder = folder
        self._key = key
        self._name = ""
        self._fd = -1
        self._sizes: dict[int, int] = {}
        self._lock = asyncio.Lock()

    @property
    def upload_id(self) -> str:
        """The unfinished file's name."""
        return self._name

    def open(self, write_id: str) -> None:
        """Create the unfinished file. Blocking; raises OSError."""
        self._name, self._fd = self._folder.create_temp(write_id)

    async def put_part(self, body: PartBody) -> None:
        """Write a part at its offset. Raises StoreMismatch if the body is not `body.size` long."""
        at = body.offset
        async for run in body.chunks():
            async with self._lock:
                at += await self._store.run(_write_all, self._open_fd(), run, at)
        if at - body.offset != body.size:
            raise StoreMismatch(f"part {body.number}: {at - body.offset} bytes of {body.size}")
        self._sizes[body.number] = body.size

    async def complete(self, size: int) -> Stored:
        """Check the size, fsync, rename."""
        async with self._lock:
            fd = self._open_fd()
            stat = await self._store.run(os.fstat, fd)
            if stat.st_size != size or sum(self._sizes.values()) != size:
                raise StoreMismatch(
                    f"{size} bytes expected, {sum(self._sizes.values())} in parts, "
                    f"{stat.st_size} in the file"
                )
            await self._store.run(self._folder.commit, self._name, fd, self._key)
            self._close()
        path = os.path.join(self._folder.path, self._key)
        return Stored(self._key, size, etag=etag_of(stat), path=path)

    async def abort(self) -> None:
        """Remove the unfinished file, or the object if `complete` was cancelled too late."""
        async with self._lock:
            if self._fd >= 0:
                await self._store.run(self._folder.discard, self._name, self._fd, self._key)
            self._close()

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise StoreRefused("the upload has ended")
        return self._fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write_all(fd: int, views: Sequence[memoryview], offset: int) -> int:
    """Write every byte of `views` at `offset`; how many. A short write (a signal) goes on."""
    rest = [view for view in views if len(view)]
    done = 0
    while rest:
        count = os.pwritev(fd, rest[:IOV_MAX], offset + done)
        done += count
        while rest and count >= len(rest[0]):
            count -= len(rest.pop(0))
        if count:
            rest[0] = rest[0][count:]
    return done


@contextmanager
def _faults(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        detail = f"{path}: {error.strerror}"
        if error.errno in BUSY:
            raise StoreUnavailable(detail) from error
        raise StoreRefused(detail) from error
