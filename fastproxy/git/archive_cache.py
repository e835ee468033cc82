"""Archives that were made once, in a directory of bounded size.

    key of all that an order says --> XX/REST-OF-KEY

A new one is written to a file without a name, which gets its name when it is whole: nobody sees
half of one, and a crash leaves nothing. What was not asked for longest goes first. Workers share
the directory. Everything here blocks: call it in a thread.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from fastproxy.git.orders import Archive

_LEAST_FREE: Final = 0.1  # of the size, when something has to go


def place_of(order: Archive) -> list[bytes]:
    """Where its archive is, beneath the directory. Equal orders have equal places, others have not:
    the parts of a key cannot run into each other."""
    key = hashlib.sha256(repr(msgspec.structs.astuple(order)).encode()).hexdigest().encode()
    return [key[:2], key[2:]]


class ArchiveCache:
    """`size` in bytes, of all files together."""

    def __init__(self, directory: str, size: int) -> None:
        self.directory = directory
        self._size = size

    def create(self, place: Sequence[bytes]) -> "Draft":
        """Begin a new one. Raises OSError."""
        folder = os.path.join(self.directory.encode(), place[0])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        return Draft(fd, os.path.join(folder, place[1]), self._size)

    def touch(self, place: Sequence[bytes]) -> None:
        """Somebody has asked for it. When it was made stays, for its tag is made of that."""
        path = os.path.join(self.directory.encode(), *place)
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))

    def make_room(self) -> int:
        """Remove the oldest until the size is kept, with some to spare; how many went."""
        files = sorted(self._files(), key=lambda found: found[0])
        total = sum(size for _, size, _ in files)
        goal = self._size if total <= self._size else self._size * (1 - _LEAST_FREE)
        removed = 0
        for _, size, path in files:
            if total <= goal:
                break
            with contextlib.suppress(FileNotFoundError):  # another worker was first
                path.unlink()
            total -= size
            removed += 1
        return removed

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in Path(self.directory).glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_atime, status.st_size, path))
        return found


class Draft:
    """An archive that is being written. `close` it in any case."""

    def __init__(self, fd: int, path: bytes, most: int) -> None:
        self._fd = fd
        self._path = path
        self._left = most

    def write(self, data: bytes) -> None:
        """Add to it. Raises OSError, also when it is larger than all may be."""
        self._left -= len(data)
        if self._left < 0:
            raise OSError("larger than the cache")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def finish(self) -> None:
        """It is whole: from now on it is found. Raises OSError.

        It is on the disk before it has its name: else a power cut could leave one of half of it.
        """
        os.fdatasync(self._fd)
        with contextlib.suppress(FileExistsError):  # somebody else made the same meanwhile
            # With a descriptor, which an absolute path does not need: else Python calls link(2),
            # which follows no link, and not linkat(2).
            os.link(f"/proc/self/fd/{self._fd}", self._path, src_dir_fd=self._fd)

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)
