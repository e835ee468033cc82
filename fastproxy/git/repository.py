"""Repositories beneath a root: no symlink below it is followed, so nothing leads out of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from fastproxy.errors import NoRepository

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Repository:
    """An open repository; `path` is its real one."""

    descriptor: int
    path: str


@contextmanager
def opened(root: str, name: str) -> Iterator[Repository]:
    """The repository `root/name` while the block lasts.

    Raises NoRepository for one that is not there or not beneath the root, OSError when it is our
    system that fails.
    """
    segments = name.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or "\0" in name:
        raise NoRepository(f"{name[:200]!r} is not the name of a repository")
    try:
        descriptor = _descend(root, segments)
    except OSError as error:
        if error.errno in _ABSENT:
            raise NoRepository(f"there is no {name[:200]!r} beneath the root") from None
        raise
    try:
        yield Repository(descriptor, os.path.join(os.path.realpath(root), name))
    finally:
        os.close(descriptor)


def _descend(root: str, segments: list[str]) -> int:
    directory = os.open(root, _DIRECTORY)
    for segment in segments:
        try:
            inner = os.open(segment, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory
