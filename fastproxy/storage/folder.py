"""Files beneath a root, reached by directory descriptors only: no key can lead out of it.

Every step is opened with O_NOFOLLOW, so a symbolic link inside the root is refused, too. Blocking;
raises OSError, and StoreRefused for keys.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from stat import S_ISREG

from fastproxy.errors import StoreRefused
from fastproxy.storage.contract import Excerpt
from fastproxy.storage.sender import NotThere

TMP = ".fastproxy-tmp"
LOCK = "lock"
MARK = "user.fastproxy.write"
DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
COMMIT_TRIES = 16
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # no object of that key


def etag_of(stat: os.stat_result) -> str:
    """What tells one object of a key from another; a rename changes none of it."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def segments(key: str) -> list[str]:
    """A key's path segments. Raises StoreRefused for a key that could mean another place."""
    parts = key.split("/")
    if "\0" in key or parts[0] == TMP or any(part in ("", ".", "..") for part in parts):
        raise StoreRefused(f"not a key of this store: {key[:200]!r}")
    return parts


class Folder:
    """A root directory and this process's own directory for unfinished files beneath it.

    Unfinished files live in `.fastproxy-tmp/GENERATION/` (0700), whose `lock` file is held by
    flock(2): a generation that can be locked belongs to a dead process.
    """

    def __init__(self, path: str, fsync: bool) -> None:
        self.path = os.path.abspath(path)
        self._fsync = fsync
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        self._root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._generation = secrets.token_hex(8)
        self._tmp = _make_dir(self._root, TMP)
        with _lock(self._tmp):
            _sweep(self._tmp)
            self._temp = _make_dir(self._tmp, self._generation)
            self._lock_fd = _open_lock(self._temp)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)

    def create_temp(self, mark: str) -> tuple[str, int]:
        """A new unfinished file (0600) that carries `mark`: its name and a descriptor to write."""
        name = secrets.token_hex(8)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=self._temp)
        if mark:
            with suppress(OSError):  # not every file system has attributes
                os.setxattr(fd, MARK, mark.encode())
        return name, fd

    def discard(self, name: str, fd: int, key: str) -> None:
        """Remove an unfinished file, also when it has just become the object `key`."""
        try:
            os.unlink(name, dir_fd=self._temp)
        except FileNotFoundError:
            own = os.fstat(fd)
            self.remove_if(key, lambda stat: os.path.samestat(stat, own))

    def mark(self, key: str) -> str | None:
        """The mark of an object, None when it has none."""
        *parents, last = segments(key)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            with (
                _descriptor(self._descend(parents)) as parent,
                _descriptor(os.open(last, flags, dir_fd=parent)) as fd,
            ):
                return os.getxattr(fd, MARK).decode("ascii", "replace")
        except OSError:
            return None

    def read(self, key: str, start: int, length: int) -> Excerpt:
        """See Store. Raises NotThere."""
        *parents, last = segments(key)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            with (
                _descriptor(self._descend(parents)) as parent,
                _descriptor(os.open(last, flags, dir_fd=parent)) as fd,
            ):
                stat = os.fstat(fd)
                if not S_ISREG(stat.st_mode) or start > stat.st_size:
                    raise NotThere(f"{key}: no file, or it ends before byte {start}")
                data = os.pread(fd, length, start)
                return Excerpt(data, stat.st_size, etag_of(stat), int(stat.st_mtime))
        except ABSENT as error:
            raise NotThere(f"{key}: {error.strerror}") from error

    def commit(self, name: str, fd: int, key: str) -> None:
        """Give an unfinished file its key, in one step; an object of that key is replaced."""
        *parents, last = segments(key)
        if self._fsync:
            os.fsync(fd)
        for attempt in range(COMMIT_TRIES):
            try:
                with _descriptor(self._descend(parents, create=True)) as parent:
                    with _lock(self._tmp, fcntl.LOCK_SH):
                        os.rename(name, last, src_dir_fd=self._temp, dst_dir_fd=parent)
                    if self._fsync:
                        os.fsync(parent)
                return
            except FileNotFoundError:  # `remove_if` has just pruned the empty parent
                if attempt == COMMIT_TRIES - 1:
                    raise

    def remove_if(self, key: str, is_meant: Callable[[os.stat_result], bool]) -> None:
        """Remove an object and the directories it leaves empty; none is no error.

        No process can replace it between the look and the removal.
        """
        *parents, last = segments(key)
        with suppress(*ABSENT), _descriptor(self._descend(parents)) as parent:
            with _lock(self._tmp):
                if not is_meant(os.stat(last, dir_fd=parent, follow_symlinks=False)):
                    return
                os.unlink(last, dir_fd=parent)
            if self._fsync:
                os.fsync(parent)
        self._prune(parents)

    def close(self) -> None:
        """Remove this generation and let the descriptors go. Idempotent."""
        if self._root < 0:
            return
        shutil.rmtree(os.path.join(self.path, TMP, self._generation), ignore_errors=True)
        for fd in (self._lock_fd, self._temp, self._tmp, self._root):
            os.close(fd)
        self._root = -1

    def _descend(self, names: list[str], create: bool = False) -> int:
        fd = os.dup(self._root)
        for name in names:
            with _descriptor(fd):
                fd = self._step(fd, name) if create else os.open(name, DIR_FLAGS, dir_fd=fd)
        return fd

    def _step(self, parent: int, name: str) -> int:
        try:
            return os.open(name, DIR_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            fd = _make_dir(parent, name)
            if self._fsync:
                os.fsync(parent)
            return fd

    def _prune(self, parents: list[str]) -> None:
        with suppress(OSError):  # not empty any more: somebody stored there
            while parents:
                with _descriptor(self._descend(parents[:-1])) as parent:
                    os.rmdir(parents[-1], dir_fd=parent)
                parents = parents[:-1]


def _make_dir(parent: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, DIR_FLAGS, dir_fd=parent)


def _open_lock(directory: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(LOCK, flags, 0o600, dir_fd=directory)


def _sweep(tmp: int) -> None:
    """Remove the generations of dead processes. The caller holds the lock of `tmp`."""
    for name in os.listdir(tmp):
        if name != LOCK and _is_dead(tmp, name):
            shutil.rmtree(name, ignore_errors=True, dir_fd=tmp)


def _is_dead(tmp: int, name: str) -> bool:
    try:
        with (
            _descriptor(os.open(name, DIR_FLAGS, dir_fd=tmp)) as generation,
            _descriptor(_open_lock(generation)) as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


@contextmanager
def _lock(directory: int, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    with _descriptor(_open_lock(directory)) as fd:
        fcntl.flock(fd, how)
        yield


@contextmanager
def _descriptor(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
