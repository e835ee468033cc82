"""Repositories beneath a root: no symlink below it is followed, so nothing leads out of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import Struct

from fastproxy.errors import NoRepository

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# What makes a directory one of git's (gitrepository-layout(5)). Elsewhere some of its programs do
# something else, and a snapshot would be empty.
_PARTS: Final = ("HEAD", "objects", "refs")
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class Repository(Struct, frozen=True):
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
        if not all(_has(descriptor, part) for part in _PARTS):
            raise NoRepository(f"{name[:200]!r} is a directory without a repository")
        yield Repository(descriptor, os.path.join(os.path.realpath(root), name))
    finally:
        os.close(descriptor)


def _has(descriptor: int, part: str) -> bool:
    try:
        os.stat(part, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _descend(root: str, segments: list[str]) -> int:
    directory = os.open(root, _DIRECTORY)
    for segment in segments:
        try:
            inner = os.open(segment, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = inner
    return directory
