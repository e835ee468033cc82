"""The spill file: one unlinked temporary file of a worker, written and read in threads.

Calls are blocking and may run at the same time for different extents. All raise OSError.
"""

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import IO

from fastproxy.memory.blocks import Extent

IOV_MAX = 1024  # views in one pwritev(2)
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class SpillFile:
    """Made on first use, so an idle worker has none. It has no name: it goes with the process."""

    def __init__(self, directory: str = "") -> None:
        self._directory = directory or None
        self._file: IO[bytes] | None = None
        self._lock = Lock()
        self._reads_now = hasattr(os, "RWF_NOWAIT")  # Linux has it, and most of its file systems

    def _descriptor(self) -> int:
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0, dir=self._directory)  # noqa: SIM115
            return self._file.fileno()

    def write(self, extents: Sequence[Extent], views: Sequence[memoryview]) -> None:
        """Write the views, one after the other, over the extents."""
        descriptor = self._descriptor()
        pending = list(reversed(views))
        for extent in extents:
            offset, left = extent.offset, extent.size
            while left:
                batch = _gathered(pending, left)
                written = os.pwritev(descriptor, batch, offset)
                offset += written
                left -= written
                pending += reversed(list(_rest(batch, written)))

    def read(self, extents: Sequence[Extent], window: memoryview) -> None:
        """Fill the beginning of `window` with the extents, one after the other."""
        descriptor = self._descriptor()
        for extent in extents:
            offset, left = extent.offset, extent.size
            while left:
                got = os.preadv(descriptor, [window[:left]], offset)
                if got == 0:
                    raise OSError(errno.EIO, "the spill file is shorter than what was written")
                window, offset, left = window[got:], offset + got, left - got

    def read_now(self, extents: Sequence[Extent], window: memoryview) -> bool:
        """The same without waiting for the disk, and without a thread; False: not all is at hand.

        What was spilled not long ago is in the page cache (preadv2(2), RWF_NOWAIT).
        """
        if not self._reads_now:
            return False
        descriptor = self._descriptor()
        for extent in extents:
            target = [window[: extent.size]]
            try:
                if os.preadv(descriptor, target, extent.offset, os.RWF_NOWAIT) < extent.size:
                    return False
            except OSError as error:  # a thread will say so, if it is more than a want of patience
                self._reads_now = error.errno not in UNSUPPORTED
                return False
            window = window[extent.size :]
        return True

    def trim(self, extents: Sequence[Extent]) -> None:
        """Give the extents' disk space back, where the system and its file system can.

        Never by truncation: other threads may be writing beyond.
        """
        descriptor = self._descriptor()
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "fallocate"):  # not Linux
            return
        for extent in extents:
            offset, size = ctypes.c_int64(extent.offset), ctypes.c_int64(extent.size)
            if libc.fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, offset, size):
                number = ctypes.get_errno()
                if number in UNSUPPORTED:
                    return
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()


def _gathered(pending: list[memoryview], size: int) -> list[memoryview]:
    """Take views of at most `size` bytes off the end of `pending`, splitting the last."""
    batch: list[memoryview] = []
    while pending and size and len(batch) < IOV_MAX:
        view = pending.pop()
        if len(view) > size:
            pending.append(view[size:])
            view = view[:size]
        batch.append(view)
        size -= len(view)
    return batch


def _rest(batch: list[memoryview], written: int) -> Iterator[memoryview]:
    for view in batch:
        if written < len(view):
            yield view[written:]
        written = max(0, written - len(view))
