"""The real spill file on the real disk."""

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.memory.blocks import Extent
from fastproxy.memory.spill_file import SpillFile
from tests.support.descriptors import descriptors
from tests.support.examples import examples

BLOCK = 4096


def split(data: bytes, cuts: list[int]) -> list[memoryview]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [memoryview(data)[a:b] for a, b in pairwise(edges)]


@examples(50)
@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0)), st.lists(st.integers(0)))
def test_what_is_written_in_any_pieces_is_read_back(
    data: bytes, cuts: list[int], holes: list[int]
) -> None:
    sizes = [len(view) for view in split(data, holes)]
    extents = [Extent(1000 * (len(sizes) - n), size) for n, size in enumerate(sizes)]
    file = SpillFile()
    file.write(extents, split(data, cuts))
    window = memoryview(bytearray(len(data) + 5))
    file.read(extents, window)
    assert bytes(window[: len(data)]) == data
    window = memoryview(bytearray(len(data) + 5))
    assert file.read_now(extents, window), "it was written just now"
    assert bytes(window[: len(data)]) == data
    file.close()


def test_what_is_not_at_hand_is_not_waited_for() -> None:
    file = SpillFile()
    body = os.urandom(64 * BLOCK)
    file.write([Extent(0, len(body))], [memoryview(body)])
    window = memoryview(bytearray(2 * BLOCK))
    assert not file.read_now([Extent(63 * BLOCK, 2 * BLOCK)], window), "shorter"
    os.fsync(file._descriptor())
    os.posix_fadvise(file._descriptor(), 0, 0, os.POSIX_FADV_DONTNEED)
    if file.read_now([Extent(40 * BLOCK, 2 * BLOCK)], window):  # memory is its disk, as of tmpfs
        assert window == body[40 * BLOCK : 42 * BLOCK]
    file.read([Extent(40 * BLOCK, 2 * BLOCK)], window)
    assert file.read_now([Extent(40 * BLOCK, 2 * BLOCK)], window)
    assert window == body[40 * BLOCK : 42 * BLOCK]
    file.close()


@pytest.mark.parametrize(
    ("number", "asks_again"), [(errno.EAGAIN, True), (errno.EIO, True), (errno.EOPNOTSUPP, False)]
)
def test_a_system_that_cannot_say_what_is_at_hand_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, number: int, asks_again: bool
) -> None:
    file, asked = SpillFile(), []

    def refuse(*args: object) -> int:
        asked.append(args)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", refuse)
    window = memoryview(bytearray(1))
    assert not file.read_now([Extent(0, 1)], window)
    assert not file.read_now([Extent(0, 1)], window)
    assert len(asked) == 1 + asks_again
    file.close()


def test_the_file_has_no_name_and_is_made_on_first_use(tmp_path: Path) -> None:
    before = descriptors()
    file = SpillFile(str(tmp_path))
    assert descriptors() <= before
    file.write([Extent(0, 3)], [memoryview(b"abc")])
    assert len(descriptors() - before) == 1
    assert list(tmp_path.iterdir()) == []
    file.close()
    file.close()
    assert descriptors() <= before


def test_trimming_gives_the_disk_back_and_nothing_else() -> None:
    file = SpillFile()
    body = bytes([7]) * (64 * BLOCK)
    file.write([Extent(0, len(body))], [memoryview(body)])
    before = os.fstat(file._descriptor()).st_blocks
    file.trim([Extent(8 * BLOCK, 40 * BLOCK)])
    assert os.fstat(file._descriptor()).st_blocks <= before - 39 * BLOCK // 512
    window = memoryview(bytearray(64 * BLOCK))
    file.read([Extent(0, len(window))], window)
    expected = body[: 8 * BLOCK] + bytes(40 * BLOCK) + body[48 * BLOCK :]
    assert bytes(window) == expected
    file.close()


def test_more_views_than_one_system_call_takes_are_written() -> None:
    file = SpillFile()
    data = os.urandom(3000)
    file.write([Extent(5, 3000)], split(data, list(range(3000))))
    window = memoryview(bytearray(3000))
    file.read([Extent(5, 3000)], window)
    assert bytes(window) == data
    file.close()


def test_reading_what_was_never_written_is_an_error_and_not_zeros() -> None:
    file = SpillFile()
    file.write([Extent(0, 3)], [memoryview(b"abc")])
    with pytest.raises(OSError, match="shorter"):
        file.read([Extent(0, 9)], memoryview(bytearray(9)))
    file.close()
