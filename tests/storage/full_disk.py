"""A disk that is full, for the journal."""

import os

import pytest

from fastproxy.storage import journal


def full(*args: object) -> None:
    """Instead of a call that wants space."""
    raise OSError(28, "No space left on device")


def within(fd: int, data: bytes, at: int) -> None:
    """What a full disk lets one write: over what is there already."""
    if at + len(data) > os.fstat(fd).st_size:
        full()
    os.pwrite(fd, data, at)


def fill(patch: pytest.MonkeyPatch) -> None:
    """From now on no file grows."""
    patch.setattr(os, "posix_fallocate", full)
    patch.setattr(journal, "_write", within)
