"""Compressed questions, whatever pieces they come in."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BadBody, BodyTooLarge, UnsupportedCoding
from fastproxy.git.inflate import decoded

MANY = 1 << 30


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes, size: int, coding: bytes | None, limit: int = MANY) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [piece async for piece in decoded(pieces_of(data, size), coding, limit)]

    return asyncio.run(collect())


@given(st.binary(max_size=3000) | st.builds(bytes, st.integers(0, 300_000)), st.integers(1, 70_000))
def test_what_was_compressed_comes_out_in_small_pieces(data: bytes, size: int) -> None:
    for coding in (b"gzip", b" X-GZIP "):
        got = read(gzip.compress(data), size, coding)
        assert b"".join(got) == data
        assert all(len(piece) <= 64 * 1024 for piece in got)


@pytest.mark.parametrize("coding", [None, b"identity"])
def test_what_is_plain_passes(coding: bytes | None) -> None:
    assert b"".join(read(b"abcdef", 4, coding)) == b"abcdef"


@pytest.mark.parametrize("coding", [b"br", b"deflate", b"gzip, gzip"])
def test_another_coding_is_refused_before_anything_is_read(coding: bytes) -> None:
    with pytest.raises(UnsupportedCoding):
        decoded(pieces_of(b"", 1), coding, MANY)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_body_that_is_cut_is_the_clients_fault(cut: int) -> None:
    with pytest.raises(BadBody):
        read(gzip.compress(b"hello")[:cut], 1, b"gzip")


@pytest.mark.parametrize("more", [b"x", gzip.compress(b"more", mtime=0)], ids=["byte", "body"])
def test_nothing_may_follow_the_end(more: bytes) -> None:
    for size in (1, 10_000):
        with pytest.raises(BadBody):
            read(gzip.compress(b"hello") + more, size, b"gzip")


def test_the_limit_is_for_what_comes_out() -> None:
    packed = gzip.compress(bytes(100_000))
    assert sum(map(len, read(packed, 100, b"gzip", 100_000))) == 100_000
    with pytest.raises(BodyTooLarge):
        read(packed, 100, b"gzip", 99_999)


def test_while_a_bomb_goes_off_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def play() -> None:
        waiting = asyncio.ensure_future(others())
        bomb = gzip.compress(bytes(8 << 20))
        pieces = [piece async for piece in decoded(pieces_of(bomb, MANY), b"gzip", MANY)]
        waiting.cancel()
        assert turns >= len(pieces) == 128

    asyncio.run(play())
