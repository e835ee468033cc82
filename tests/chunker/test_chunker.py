"""Edges of the chunker that have a name of their own; everything else is in the model's test."""

import copy
import ctypes
import gc
import io
import mmap
import pickle
import struct
import threading

import pytest

from fastproxy.chunker import Chunker, ChunkerClosed, Part, PoolExhausted, SlabPool

PAGE = mmap.PAGESIZE
EIGHT = bytes(range(8))


def small(part_size=20, slabs=8):
    pool = SlabPool(slabs * 8, 8)
    return pool, Chunker(pool, part_size)


def committed_pages(start, pages):
    """How many of the pages from address `start` the kernel has given memory (pagemap, bit 63)."""
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(start // PAGE * 8)
        entries = struct.unpack(f"<{pages}Q", pagemap.read(pages * 8))
    return sum(entry >> 63 for entry in entries)


def test_an_empty_stream_gives_one_empty_part():
    _, chunker = small()
    chunker.finish()
    chunker.finish()
    part = chunker.next_part()
    assert (part.number, part.offset, part.size, part.views) == (1, 0, 0, ())
    assert part.is_whole
    assert part.is_end
    assert part.tobytes() == b""
    assert part, "a loop `while part := next_part()` must not miss it"
    assert chunker.next_part() is None


def test_a_stream_that_ends_at_a_parts_end_has_no_further_part():
    _, chunker = small(part_size=4)
    chunker.feed(EIGHT)
    chunker.finish()
    assert [part.tobytes() for part in chunker] == [EIGHT[:4], EIGHT[4:]]


def test_a_part_that_was_taken_entirely_still_gets_its_end():
    for end in (Chunker.cut, Chunker.finish):
        _, chunker = small()
        chunker.feed(EIGHT)
        assert chunker.take().is_end is False
        end(chunker)
        part = chunker.next_part()
        assert (part.number, part.offset, part.size) == (1, 8, 0)
        assert part.is_end
        assert not part.is_whole


def test_a_part_larger_than_the_pool_goes_through_in_pieces():
    pool, chunker = small(part_size=100, slabs=2)
    rest, got = memoryview(bytes(range(100))), []
    while rest:
        rest = rest[chunker.feed(rest) :]
        with chunker.take() or chunker.next_part() as piece:
            assert piece.number == 1
            got.append(piece.tobytes())
            assert piece.is_end == (not rest)
    assert b"".join(got) == bytes(range(100))
    assert pool.used_count == 0


def test_an_idle_upload_holds_no_slab():
    pool, chunker = small()
    assert pool.used_count == 0
    chunker.get_buffer()
    chunker.buffer_updated(0)
    assert pool.used_count == 0
    chunker.get_buffer()
    chunker.get_buffer()
    assert pool.used_count == 1
    assert chunker.take() is None
    assert pool.used_count == 0


def test_memory_is_not_used_again_while_any_view_of_it_lives():
    _, chunker = small(part_size=8, slabs=1)
    chunker.feed(EIGHT)
    part = chunker.next_part()
    view = memoryview(part.views[0])[2:4]
    part.release()
    part.release()
    assert part.is_released
    assert chunker.feed(b"other") == 0
    with pytest.raises(PoolExhausted):
        chunker.get_buffer()
    assert view == EIGHT[2:4]
    view.release()
    assert chunker.feed(b"other") == 5


def test_a_released_part_shows_nothing():
    _, chunker = small(part_size=8)
    chunker.feed(EIGHT)
    part = chunker.next_part()
    part.release()
    with pytest.raises(ValueError, match="released"):
        _ = part.views
    with pytest.raises(ValueError, match="released"):
        part.tobytes()


def test_a_window_goes_on_through_the_slabs_behind_it():
    pool = SlabPool(8 * 10, 10)
    chunker = Chunker(pool, 60)
    chunker.feed(b"abc")
    chunker.get_buffer(25)[:] = bytes(range(27))
    assert chunker.tail_slabs == 3
    chunker.buffer_updated(9)
    assert (chunker.tail_slabs, pool.used_count) == (2, 2)
    assert len(chunker.get_buffer(1000)) == 48  # no further than its part
    chunker.buffer_updated(48)
    part = chunker.next_part()
    assert part.tobytes()[:12] == b"abc" + bytes(range(9))
    assert [len(view) for view in part.views] == [10] * 6
    assert len(chunker.get_buffer(50)) == 20  # what the pool has left


def test_a_window_ends_where_the_memory_of_others_begins():
    pool = SlabPool(8 * 10, 10)
    one, other = Chunker(pool, 60), Chunker(pool, 60)
    one.feed(b"a")
    other.feed(b"b")
    assert len(one.get_buffer(40)) == 9
    assert len(other.get_buffer(40)) == 39 + 10
    assert len(one.get_buffer(40)) == 9


def test_free_slabs_lie_together_whatever_came_and_went_before():
    pool = SlabPool(8 * 10, 10)
    chunkers = [Chunker(pool, 10) for _ in range(8)]
    for chunker in chunkers:
        chunker.feed(b"a")
    for n in (5, 1, 4, 0, 2, 3):
        chunkers[n].close()
    assert len(Chunker(pool, 60).get_buffer(60)) == 60


def test_a_part_goes_on_behind_its_last_slab_though_others_are_free():
    pool = SlabPool(8 * 10, 10)
    before, chunker = Chunker(pool, 10), Chunker(pool, 60)
    before.feed(b"a")
    chunker.feed(b"a" * 10)
    before.close()
    assert len(chunker.get_buffer(60)) == 50


def test_a_window_that_is_still_held_keeps_its_slab_out_of_the_pool():
    pool, chunker = small()
    window = chunker.get_buffer()
    chunker.close()
    assert pool.used_count == 1
    window[:] = b"x" * len(window)
    del window
    assert pool.used_count == 0


def test_a_part_is_the_memory_that_the_kernel_wrote():
    _, chunker = small(part_size=8)
    window = chunker.get_buffer()
    window[:] = EIGHT
    chunker.buffer_updated(8)
    part = chunker.next_part()
    window[0] = 255  # nobody may, but where there is a copy it would not show
    assert part.views[0][0] == part.tobytes()[0] == 255


def test_views_outlive_chunker_pool_and_part():
    pool, chunker = small(part_size=8)
    chunker.feed(EIGHT)
    view = chunker.next_part().views[0]
    del pool, chunker
    gc.collect()
    assert view == EIGHT


def test_frozen_bytes_cannot_be_written():
    _, chunker = small(part_size=8)
    chunker.feed(EIGHT)
    view = chunker.next_part().views[0]
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(TypeError):
        io.BytesIO(b"others").readinto(view.obj)
    assert view == EIGHT


def test_feeding_the_own_window_is_harmless():
    _, chunker = small()
    window = chunker.get_buffer()
    window[:] = EIGHT
    assert chunker.feed(window[3:]) == 5
    assert chunker.take().tobytes() == EIGHT[3:]


@pytest.mark.parametrize("bad", [0, -1])
def test_a_part_has_at_least_one_byte(bad):
    with pytest.raises(ValueError, match="at least 1"):
        Chunker(SlabPool(8, 8), bad)
    chunker = Chunker(SlabPool(8, 8), lambda number: bad)
    with pytest.raises(ValueError, match="at least 1"):
        chunker.feed(b"x")


def test_a_part_size_function_that_raises_loses_nothing():
    def size(number):
        if number > 2:
            raise LookupError(number)
        return 4

    _, chunker = small(size)
    with pytest.raises(LookupError):
        chunker.feed(b"x" * 9)
    assert chunker.total == 8
    chunker.finish()
    assert len(list(chunker)) == 2


def test_a_part_size_function_may_close_the_chunker():
    pool = SlabPool(64, 8)

    def size(number):
        chunker.close()
        return 4

    chunker = Chunker(pool, size)
    with pytest.raises(ChunkerClosed):
        chunker.feed(EIGHT)
    assert pool.used_count == 0


def test_a_stream_of_terabytes_is_counted_exactly():
    pool = SlabPool(1 << 20)
    chunker = Chunker(pool, 5 << 40)
    assert chunker.part_room == 5 << 40
    assert chunker.room == 1 << 20
    chunker = Chunker(pool, lambda number: number << 50)
    assert chunker.part_room == 1 << 50


@pytest.mark.parametrize(
    ("budget", "slab_size"), [(0, 8), (7, 8), (-1, 8), (8, 0), (8, -8), (1 << 70, 8)]
)
def test_a_pool_must_hold_a_slab(budget, slab_size):
    with pytest.raises((ValueError, OverflowError)):
        SlabPool(budget, slab_size)


def test_a_mapping_the_kernel_refuses_is_a_memory_error():
    with pytest.raises(MemoryError):
        SlabPool(1 << 62, 1 << 61)


@pytest.mark.parametrize("bad", ["text", 1.5, None])
def test_only_bytes_and_whole_sizes_are_accepted(bad):
    pool, chunker = small()
    with pytest.raises(TypeError):
        chunker.feed(bad)
    with pytest.raises(TypeError):
        Chunker(pool, bad)
    with pytest.raises(TypeError):
        Chunker(None, 8)


def test_what_belongs_to_the_pool_cannot_be_made_or_copied_by_hand():
    pool, chunker = small(part_size=8)
    chunker.feed(EIGHT)
    part = chunker.next_part()
    slab = part.views[0].obj
    for made in (Part, type(slab)):
        with pytest.raises(TypeError):
            made()
    for thing in (pool, chunker, part, slab):
        for copier in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError):
                copier(thing)
    with pytest.raises(BufferError):
        memoryview(type(slab).__new__(type(slab)))
    with pytest.raises(ValueError, match="released"):
        _ = Part.__new__(Part).views


def test_free_memory_goes_back_to_the_kernel_and_held_memory_does_not():
    pool = SlabPool(16 * PAGE, PAGE)
    chunker = Chunker(pool, 4 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(chunker.get_buffer()))
    assert committed_pages(start, 16) == 0
    chunker.feed(b"x" * 12 * PAGE)
    first, second, third = chunker
    assert committed_pages(start, 16) == 12
    first.release()
    third.release()
    assert pool.trim() == 8 * PAGE
    assert committed_pages(start, 16) == 4
    assert pool.trim() == 0
    assert second.tobytes() == b"x" * 4 * PAGE
    assert bytes(chunker.get_buffer()) == bytes(PAGE)


def test_trim_leaves_pages_alone_that_a_taken_slab_shares():
    pool = SlabPool(64 * 100, 100)
    chunker = Chunker(pool, 100)
    chunker.feed(bytes(range(100)) * 64)
    parts = list(chunker)
    for part in parts[1::2]:
        part.release()
    assert pool.trim() == 0
    assert all(part.tobytes() == bytes(range(100)) for part in parts[::2])
    for part in parts:
        part.release()
    assert pool.trim() == 2 * PAGE


def test_on_free_is_called_once_when_memory_came_back():
    pool, chunker = small(part_size=4)
    chunker.feed(EIGHT)
    first, second = chunker
    view, free = first.views[0], []
    pool.on_free = lambda: free.append(pool.free_count)
    first.release()
    assert free == []
    del view
    assert free == [7]
    assert pool.on_free is None
    second.release()
    assert free == [7]


def test_a_view_may_die_in_another_thread():
    pool, chunker = small(part_size=8)
    chunker.feed(EIGHT)
    part = chunker.next_part()
    views = list(part.views)
    part.release()
    thread = threading.Thread(target=views.clear)
    thread.start()
    thread.join()
    assert pool.used_count == 0


def test_a_cycle_through_pool_chunker_and_views_is_collected():
    died, called = [], []

    class Waiter:
        def __init__(self):
            self.pool, self.chunker = small(part_size=8)
            self.chunker.feed(EIGHT + b"tail")
            self.part = self.chunker.next_part()
            self.pool.on_free = self.wake

        def wake(self):
            called.append(self.pool)

        def __del__(self):
            died.append(True)

    Waiter()
    gc.collect()
    assert died
    assert not called, "nobody was left to be woken"
