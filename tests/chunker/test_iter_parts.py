"""Whole streams into parts, synchronously."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.chunker import PoolExhausted, SlabPool, iter_parts


def expected_parts(data, size_of):
    parts, number = [], 1
    while data:
        parts.append(data[: size_of(number)])
        data = data[size_of(number) :]
        number += 1
    return parts or [b""]


@given(
    st.lists(st.binary(max_size=70), max_size=8),
    st.one_of(st.integers(1, 50), st.sampled_from([lambda n: n, lambda n: 7 * n])),
    st.integers(1, 16),
)
def test_any_split_of_a_stream_gives_the_same_parts(pieces, part_size, slab_size):
    data = b"".join(pieces)
    pool = SlabPool(2048, slab_size)
    got = []
    for number, part in enumerate(iter_parts(pieces, part_size, pool), 1):
        with part:
            assert part.number == number
            assert part.is_whole
            got.append(part.tobytes())
    size_of = part_size if callable(part_size) else lambda number: part_size
    assert got == expected_parts(data, size_of)
    assert pool.used_count == 0


def test_one_part_of_memory_is_enough_for_a_consumer_that_releases():
    pool = SlabPool(64, 8)
    total = 0
    for part in iter_parts([b"x" * 1000], 64, pool):
        with part:
            total += part.size
    assert (total, pool.peak_count) == (1000, 8)


def test_a_consumer_that_keeps_all_parts_is_told():
    pool = SlabPool(64, 8)
    kept = []
    with pytest.raises(PoolExhausted, match=r"8 of 8 slabs are held elsewhere; release parts"):
        kept.extend(iter_parts([b"x" * 100], 32, pool))
    assert [part.size for part in kept] == [32, 32]
    kept.clear()
    assert pool.used_count == 0


def test_a_part_larger_than_the_pool_is_told():
    pool = SlabPool(64, 8)
    with pytest.raises(PoolExhausted, match="36 bytes of the part are missing: 0 of 8 slabs"):
        list(iter_parts([b"x" * 100], 100, pool))
    assert pool.used_count == 0


def test_leaving_early_gives_everything_back():
    pool = SlabPool(64, 8)
    stream = iter_parts([b"x" * 30], 8, pool)
    next(stream).release()
    stream.close()
    assert pool.used_count == 0


def test_an_error_of_the_source_is_passed_on_and_gives_everything_back():
    def source():
        yield b"x" * 12
        raise ConnectionResetError("client gone")

    pool = SlabPool(64, 8)
    stream = iter_parts(source(), 8, pool)
    next(stream).release()
    with pytest.raises(ConnectionResetError):
        next(stream)
    assert pool.used_count == 0
