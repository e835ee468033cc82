"""Regular files beneath a directory: no symlink below it is followed, so nothing leads out of it.

Every segment is opened relative to the directory before it (what openat2's RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS do, which Python does not offer). Blocking: call it in a thread.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ABSENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
)


class NotServed(Exception):
    """There is no regular file of this name beneath the root."""


class IsDirectory(NotServed):
    """The name is that of a directory."""


class Forbidden(Exception):
    """We may not read the file."""


class RegularFile:
    """An open file. `size` in bytes and `mtime_ns` are of when it was opened."""

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self._fd = fd
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; b"" when the file ends before `offset`."""
        return os.pread(self._fd, size, offset)

    def is_in_memory(self, offset: int, size: int) -> bool:
        """Whether these bytes most likely need not come from a disk: their ends and their middle.

        Never waits. False, too, where the file system cannot tell (tmpfs).
        """
        try:
            return all(
                os.preadv(self._fd, [bytearray(1)], at, os.RWF_NOWAIT)
                for at in (offset, offset + size // 2, offset + size - 1)
            )
        except OSError:
            return False

    def send_to(self, outlet: int, offset: int, size: int) -> int:
        """Send at most `size` bytes to a socket: how many it took, 0 when the file ends there.

        Raises BlockingIOError when it takes none now.
        """
        return os.sendfile(outlet, self._fd, offset, size)

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


def open_beneath(root: str, segments: Sequence[bytes]) -> RegularFile:
    """The file `root/segments...`. The root itself may be a symlink, which is read every time.

    Raises NotServed, IsDirectory, Forbidden, and OSError when it is our system that fails.
    """
    if not segments or any(name in (b"", b".", b"..") or b"/" in name for name in segments):
        raise NotServed(segments)
    try:
        return _open(root, segments)
    except OSError as error:
        if error.errno in _ABSENT:
            raise NotServed(segments) from error
        if isinstance(error, PermissionError):
            raise Forbidden(segments) from error
        raise


def _open(root: str, segments: Sequence[bytes]) -> RegularFile:
    directory = os.open(root, _DIRECTORY)
    try:
        for name in segments[:-1]:
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        fd = os.open(segments[-1], _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return RegularFile(fd, status)
    os.close(fd)
    raise IsDirectory(segments) if stat.S_ISDIR(status.st_mode) else NotServed(segments)
