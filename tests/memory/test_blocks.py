"""The disk budget: blocks and what parts hold of them."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.memory.blocks import Blocks, Extent, Holding, joined
from fastproxy.memory.spill import windowfuls


def test_blocks_never_exceed_the_limit() -> None:
    blocks = Blocks(limit=3, size=10)
    assert blocks.take(4) is None
    assert blocks.take(2) == [0, 1]
    assert blocks.take(2) is None
    assert blocks.available == 1


def test_freed_blocks_are_used_again_before_the_file_grows() -> None:
    blocks = Blocks(limit=9, size=10)
    blocks.take(4)
    blocks.give([1, 2])
    assert blocks.take(3) == [1, 2, 4]


def test_blocks_being_trimmed_are_nobodys() -> None:
    blocks = Blocks(limit=4, size=10)
    blocks.take(4)
    blocks.give([0, 1, 3])
    extents = blocks.begin_trim()
    assert extents == [Extent(0, 20), Extent(30, 10)]
    assert blocks.take(1) is None
    assert blocks.dirty == 0
    blocks.end_trim(extents)
    assert blocks.take(3) == [0, 1, 3]


def test_trickles_fill_up_the_last_block() -> None:
    blocks, holding = Blocks(limit=2, size=10), Holding()
    assert holding.extend(4, blocks) == [Extent(0, 4)]
    assert holding.extend(6, blocks) == [Extent(4, 6)]
    assert blocks.used == 1
    assert holding.extend(11, blocks) is None
    assert (holding.used, blocks.used) == (10, 1)


def test_shrinking_frees_only_blocks_that_became_empty() -> None:
    blocks, holding = Blocks(limit=9, size=10), Holding()
    holding.extend(14, blocks)
    holding.extend(30, blocks)
    holding.shrink(14, blocks)
    assert (holding.blocks, blocks.used) == ([0, 1], 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 45)), max_size=40))
def test_no_byte_of_the_file_belongs_to_two(steps: list[tuple[int, int]]) -> None:
    blocks = Blocks(limit=12, size=10)
    holdings = [Holding() for _ in range(4)]
    owned: list[list[int]] = [[] for _ in range(4)]
    for who, size in steps:
        extents = holdings[who].extend(size, blocks)
        if extents is None:
            holdings[who].shrink(0, blocks)
            owned[who] = []
            continue
        assert sum(extent.size for extent in extents) == size
        owned[who] += [at for e in extents for at in range(e.offset, e.offset + e.size)]
        every = [at for bytes_ in owned for at in bytes_]
        assert len(every) == len(set(every))
        assert max(every) < blocks.limit * blocks.size
        assert blocks.used == sum(-(-len(bytes_) // blocks.size) for bytes_ in owned)


EXTENTS = st.lists(st.builds(Extent, st.integers(0, 500), st.integers(1, 40)), max_size=12)


def offsets(extents: list[Extent]) -> list[int]:
    return [at for e in extents for at in range(e.offset, e.offset + e.size)]


@given(EXTENTS, st.integers(1, 50))
def test_joining_and_windowing_keep_the_bytes_in_order(extents: list[Extent], size: int) -> None:
    assert offsets(joined(extents)) == offsets(extents)
    batches = list(windowfuls(extents, size))
    assert offsets([extent for batch in batches for extent in batch]) == offsets(extents)
    assert all(sum(e.size for e in batch) == size for batch in batches[:-1])
    assert all(0 < sum(e.size for e in batch) <= size for batch in batches)
