"""The arena with real slabs, a real spill file and real threads; and each rule of the policy."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import closing
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from fastproxy._chunker import ChunkerClosed, PoolExhausted
from fastproxy.config.schema import Duration, Memory, Size
from fastproxy.errors import MemoryShort, OwnFault, TooSlow
from fastproxy.memory.arena import ROUND, Arena
from fastproxy.memory.blocks import Extent
from fastproxy.memory.buffered_part import BufferedPart
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.spill import AT_ONCE, BATCH
from fastproxy.memory.spill_file import SpillFile
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import PartBody, StoreNeeds
from tests.memory.clock import ManualLoop

SLAB = 1024


class Socket:
    """What an arena tells the socket's side."""

    def __init__(self) -> None:
        self.pauses = 0
        self.may_read = asyncio.Event()

    def pause(self) -> None:
        self.pauses += 1
        self.may_read.clear()

    def open(self, arena: Arena, needs: StoreNeeds) -> UploadBuffer:
        return arena.open(
            needs,
            lambda number: needs.part_size,
            Callbacks(self.pause, self.may_read.set),
            most=1 << 40,
        )

    async def send(self, buffer: UploadBuffer, data: bytes) -> None:
        """All of it, waiting for room where there is none."""
        at = 0
        while at < len(data):
            self.may_read.clear()
            if buffer.room():
                at += buffer.feed(data[at:])
            else:
                await asyncio.wait_for(self.may_read.wait(), 20)


def memory(
    slabs: int, *, blocks: int = 0, queue: int = 100, flying: float = 0.5, stall: float = 10.0
) -> Memory:
    """`slabs` of 1 KiB besides the window; `blocks` of disk."""
    return Memory(
        budget=Size((slabs + 1) * SLAB),
        slab=Size(SLAB),
        spill_budget=Size(blocks * SLAB),
        queue=queue,
        flying_share=flying,
        stall_timeout=Duration(stall),
    )


def needs(
    min_part: int = 4 * SLAB, part_size: int = 8 * SLAB, *, equal: bool = False
) -> StoreNeeds:
    return StoreNeeds(min_part=min_part, part_size=part_size, equal_parts=equal)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(test())


async def bytes_of(part: PartBody) -> bytes:
    return b"".join([b"".join(views) async for views in part.chunks()])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is awaited has no event
            await asyncio.sleep(0.001)


class HeldBack(Executor):
    """Does its jobs when told."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def work(self) -> None:
        jobs, self.jobs = self.jobs, []
        for future, job in jobs:
            future.set_result(job())

    async def close(self, arena: Arena) -> None:
        closing = asyncio.ensure_future(arena.close())
        while not closing.done():
            self.work()
            await asyncio.sleep(0)


class SlowDisk(SpillFile):
    """Nothing of it is in the page cache."""

    def read_now(self, *args: Any) -> bool:
        return False


class BrokenDisk(SpillFile):
    """Fails while it is told to."""

    is_broken = True

    def write(self, *args: Any) -> None:
        if self.is_broken:
            raise OSError(28, "No space left on device")
        super().write(*args)

    def read_now(self, *args: Any) -> bool:
        return not self.is_broken and super().read_now(*args)

    def read(self, *args: Any) -> None:
        if self.is_broken:
            raise OSError(5, "Input/output error")
        super().read(*args)


# --- the whole


def test_500_interleaved_trickles_through_2_mib_are_stored_byte_for_byte() -> None:
    async def test() -> None:
        setup = Memory(budget=Size(2 << 20), slab=Size(16 << 10), spill_budget=Size(64 << 20))
        arena = Arena(setup, reserve_bytes=64 << 10)
        dice = random.Random(7)
        wants = needs(64 << 10, 96 << 10)

        async def upload(number: int) -> None:
            data = random.Random(number).randbytes(dice.randrange(0, 250 << 10))
            socket = Socket()
            buffer = socket.open(arena, wants)

            async def trickle() -> None:
                at = 0
                while at < len(data):
                    step = dice.randrange(1, 16_000)
                    await socket.send(buffer, data[at : at + step])
                    at += step
                    await asyncio.sleep(dice.random() / 100)
                buffer.finish()

            sending = asyncio.ensure_future(trickle())
            stored = bytearray()
            while (part := await buffer.next_part()) is not None:
                assert part.offset == len(stored)
                assert await bytes_of(part) == await bytes_of(part)
                stored += await bytes_of(part)
                part.release()
            await sending
            assert stored == data
            buffer.close()

        await asyncio.gather(*(upload(number) for number in range(500)))
        await until(lambda: arena.stats.slabs_used == 0)
        stats = arena.stats
        assert stats.slabs_peak * stats.slab_size <= 2 << 20
        assert stats.spilled_total > 0
        assert (stats.uploads, stats.paused, stats.flying, stats.spilled_now) == (0, 0, 0, 0)
        await arena.close()

    run(test)


# --- parts


def test_a_fast_upload_stays_in_memory_in_one_run_of_views() -> None:
    async def test() -> None:
        arena = Arena(memory(40, blocks=40), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs())
        data = random.Random(1).randbytes(8 * SLAB)
        assert buffer.feed(data) == len(data)
        part = await buffer.next_part()
        assert part is not None
        runs = [list(views) async for views in part.chunks()]
        assert [len(views) for views in runs] == [8]
        assert (part.number, part.offset, part.size, part.is_last) == (1, 0, 8 * SLAB, False)
        assert arena.stats.spilled_total == 0
        await arena.close()

    run(test)


def test_who_fills_long_windows_gets_longer_ones_while_there_is_memory() -> None:
    async def test() -> None:
        arena = Arena(memory(40), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs(part_size=100 * SLAB))

        def read(most: int) -> int:
            assert buffer.room() > 0
            size = min(most, len(buffer.get_buffer()))
            buffer.buffer_updated(size)
            return size // SLAB

        assert [read(100 * SLAB) for _ in range(4)] == [1, 2, 4, 8]
        assert read(SLAB) == 1
        assert arena.stats.slabs_used == 16 == buffer.held  # of the window the rest is given back
        assert [read(100 * SLAB) for _ in range(4)] == [2, 4, 7, 1]  # to low water, and no further
        await arena.close()

    run(test)


def test_the_rest_of_the_stream_is_the_last_part_and_nothing_is_one_empty_part() -> None:
    async def test() -> None:
        arena = Arena(memory(40), reserve_bytes=SLAB)
        for data in (b"", b"x", bytes(9 * SLAB)):
            buffer = Socket().open(arena, needs())
            buffer.feed(data)
            buffer.finish()
            assert buffer.is_finished
            sizes = []
            while (part := await buffer.next_part()) is not None:
                sizes.append((part.number, part.size, part.is_last))
                assert await bytes_of(part) == bytes(data[part.offset : part.offset + part.size])
            expected = {0: [(1, 0, True)], 1: [(1, 1, True)]}
            assert sizes == expected.get(len(data), [(1, 8 * SLAB, False), (2, SLAB, True)])
            buffer.close()
        assert arena.stats.slabs_used == 0
        await arena.close()

    run(test)


def test_a_spilled_part_is_read_back_and_again_for_a_retry() -> None:
    async def test() -> None:
        arena = Arena(memory(10, blocks=100, flying=0), reserve_bytes=4 * SLAB)
        socket = Socket()
        buffer = socket.open(arena, needs(4 * SLAB, 60 * SLAB))
        data = random.Random(2).randbytes(60 * SLAB)
        await socket.send(buffer, data)
        part = await buffer.next_part()
        assert part is not None
        assert arena.stats.spilled_total > 40 * SLAB
        assert await bytes_of(part) == data
        assert await bytes_of(part) == data
        part.release()
        part.release()
        with pytest.raises(ValueError, match="released"):
            await bytes_of(part)
        buffer.close()
        assert (arena.stats.spilled_now, arena.stats.slabs_used) == (0, 0)
        await arena.close()

    run(test)


def test_a_reader_cancelled_while_a_thread_fills_its_window_gives_it_back_when_that_is_done() -> (
    None
):
    async def test() -> None:
        threads = HeldBack()
        setup = memory(10, blocks=100)
        arena = Arena(setup, reserve_bytes=SLAB, executor=threads, spill_file=SlowDisk())
        buffer = Socket().open(arena, needs())
        others = [Socket().open(arena, needs()) for _ in range(8)]
        buffer.feed(b"a" * 1000)
        for other in others:
            other.feed(b"b")
        threads.work()
        await until(lambda: arena.stats.spilled_total > 0)
        buffer.finish()
        part = await buffer.next_part()
        assert part is not None
        reading = asyncio.ensure_future(bytes_of(part))
        await until(lambda: bool(threads.jobs))
        reading.cancel()
        await asyncio.wait({reading})
        second = asyncio.ensure_future(bytes_of(part))
        await asyncio.sleep(0)
        assert len(threads.jobs) == 1  # there is one window, and the first read may still fill it
        while not second.done():
            threads.work()
            await asyncio.sleep(0)
        assert second.result() == b"a" * 1000
        for each in (buffer, *others):
            each.close()
        await threads.close(arena)
        assert arena.stats.slabs_used == 0

    run(test)


def test_what_the_system_holds_is_read_without_a_thread_and_a_few_windows_at_a_time() -> None:
    async def test() -> None:
        threads = HeldBack()
        setup = Memory(budget=Size(8 << 20), slab=Size(SLAB), spill_budget=Size(8 << 20))
        arena = Arena(setup, reserve_bytes=SLAB, executor=threads)
        count = 2 * AT_ONCE
        buffers = [Socket().open(arena, needs(SLAB, SLAB)) for _ in range(count)]
        for number, buffer in enumerate(buffers):
            buffer.feed(bytes([number]) * 1000)
            arena._eviction.spill(buffer)
        threads.work()
        await until(lambda: arena.stats.spilled_total == count * 1000)
        for buffer in buffers:
            buffer.finish()
        parts = [await buffer.next_part() for buffer in buffers]
        reading = [asyncio.ensure_future(bytes_of(part)) for part in parts if part is not None]
        read = [0]
        while read[-1] < count:
            await asyncio.sleep(0)
            read.append(sum(task.done() for task in reading))
        assert max(after - before for before, after in pairwise(read)) <= AT_ONCE
        assert [await task for task in reading] == [bytes([n]) * 1000 for n in range(count)]
        assert not threads.jobs
        await threads.close(arena)

    run(test)


# --- waiting for parts


def test_closing_wakes_who_waits_for_a_part() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs())
        waiters = [asyncio.ensure_future(buffer.next_part()) for _ in range(2)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        await asyncio.sleep(0)
        buffer.close()
        buffer.close()
        assert await waiters[1] is None
        assert waiters[0].cancelled()
        assert await buffer.next_part() is None
        await arena.close()

    run(test)


def test_closing_gives_back_tails_waiting_parts_and_parts_handed_out() -> None:
    async def test() -> None:
        arena = Arena(memory(40), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs())
        buffer.feed(bytes(20 * SLAB))
        part = await buffer.next_part()
        assert part is not None
        assert buffer.parts_waiting == 1
        buffer.close()
        assert part.is_released
        assert arena.stats.slabs_used == 0
        assert buffer.room() == 0
        await arena.close()

    run(test)


def test_nothing_is_taken_before_the_first_byte_and_nothing_after_the_end() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs())
        assert buffer.room() > 0
        assert arena.stats.slabs_used == 0
        buffer.finish()
        buffer.finish()
        assert buffer.room() == 0
        assert buffer.feed(b"late") == 0
        with pytest.raises(ChunkerClosed):
            buffer.get_buffer()
        await arena.close()

    run(test)


# --- who gets memory


def test_the_reserve_is_lent_to_nobody() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=4 * SLAB)
        first, second = Socket(), Socket()
        older, younger = first.open(arena, needs()), second.open(arena, needs(7 * SLAB))
        assert younger.feed(bytes(7 * SLAB)) == 6 * SLAB
        assert arena._policy.owner is younger.account
        assert older.feed(bytes(SLAB)) == 0
        assert arena._policy.owner is older.account  # the younger had taken nothing of it
        assert arena.stats.slabs_free == 4
        await asyncio.wait_for(first.may_read.wait(), 20)  # the reserve is the oldest's
        assert older.feed(bytes(9 * SLAB)) == 4 * SLAB
        assert older.parts_waiting == 1
        with pytest.raises(PoolExhausted):
            older.get_buffer()
        await arena.close()

    run(test)


def test_as_many_go_on_as_memory_came_back_for_and_nobody_is_woken_for_nothing() -> None:
    async def test() -> None:
        arena = Arena(memory(30, flying=1.0), reserve_bytes=4 * SLAB)
        outcomes: list[bool] = []

        def waiting() -> UploadBuffer:
            def go_on() -> None:
                outcomes.append(buffer.room() > 0)
                if outcomes[-1]:
                    buffer.feed(b"x")

            buffer = arena.open(needs(), lambda number: 8 * SLAB, Callbacks(lambda: None, go_on))
            return buffer

        hog = Socket().open(arena, needs(SLAB, SLAB))
        hog.feed(bytes(13 * SLAB))
        closed = Socket().open(arena, needs())
        closed.feed(bytes(13 * SLAB))
        views: list[memoryview] = []
        for _ in range(hog.parts_waiting):
            part = await hog.next_part()
            assert part is not None
            async for run_of_views in part.chunks():
                views += run_of_views
            part.release()
        del run_of_views
        assert sum(waiting().room() for _ in range(100)) == 0
        closed.close()
        await asyncio.sleep(0.01)
        assert outcomes == [True] * 14  # one of them through the reserve
        while views:  # its slab comes back, and nobody is told: the next round finds it
            before = outcomes.count(True)
            views.pop()
            while outcomes.count(True) == before:  # noqa: ASYNC110  time passes only by waiting
                await asyncio.sleep(ROUND)
        assert outcomes == [True] * 27
        await arena.close()

    with closing(ManualLoop(60.0)) as loop:
        loop.run_until_complete(test())


def test_the_oldest_of_those_who_wait_goes_on_first() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=4 * SLAB)
        order: list[int] = []
        hog = Socket().open(arena, needs())
        waiting = [
            arena.open(
                needs(), lambda number: 8 * SLAB, Callbacks(lambda: None, partial(order.append, n))
            )
            for n in range(3)
        ]
        owner = Socket().open(arena, needs())
        hog.feed(bytes(6 * SLAB))
        assert owner.room() == 0
        assert owner.feed(b"x") == 1  # the reserve is its own until its part is complete
        for buffer in reversed(waiting):
            assert buffer.room() == 0
        hog.close()
        await until(lambda: len(order) == 3)
        assert order == [0, 1, 2]
        await arena.close()

    run(test)


def test_an_owner_that_takes_nothing_of_the_reserve_loses_it_to_one_that_sends() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=4 * SLAB)
        hog, silent, eager = (Socket() for _ in range(3))
        hog.open(arena, needs()).feed(bytes(6 * SLAB))
        assert silent.open(arena, needs()).room() == 0
        buffer = eager.open(arena, needs())
        assert buffer.room() == 0
        await asyncio.wait_for(eager.may_read.wait(), 20)
        assert buffer.feed(bytes(4 * SLAB)) == 4 * SLAB
        await arena.close()

    run(test)


@pytest.mark.parametrize("blocks", [0, 20])
def test_an_owner_that_falls_silent_is_ended_only_where_the_disk_has_no_room_for_it(
    blocks: int,
) -> None:
    async def test() -> None:
        arena = Arena(memory(12, blocks=blocks, flying=1.0, stall=0.1), reserve_bytes=4 * SLAB)
        hog = Socket().open(arena, needs(SLAB, SLAB))
        assert hog.feed(bytes(8 * SLAB)) == 8 * SLAB  # all but the reserve
        flying = [await hog.next_part() for _ in range(8)]
        silent, other = Socket(), Socket()
        buffer, waiting = silent.open(arena, needs()), other.open(arena, needs())
        assert buffer.room() == 0
        await asyncio.wait_for(silent.may_read.wait(), 20)
        assert buffer.feed(b"slow" * 100) == 400
        assert waiting.room() == 0
        await asyncio.wait_for(other.may_read.wait(), 20)
        if not blocks:
            with pytest.raises(TooSlow):
                await buffer.next_part()
        else:
            await until(lambda: arena.stats.spilled_now == SLAB)
            buffer.finish()
            part = await buffer.next_part()
            assert part is not None
            assert await bytes_of(part) == b"slow" * 100
        assert all(flying)
        await arena.close()

    run(test)


def test_equal_parts_are_never_cut_and_complete_from_a_reserve_of_their_size() -> None:
    async def test() -> None:
        arena = Arena(memory(12), reserve_bytes=8 * SLAB)
        sockets = [Socket() for _ in range(4)]
        buffers = [socket.open(arena, needs(equal=True)) for socket in sockets]
        sizes: list[int] = []

        async def store(buffer: UploadBuffer) -> None:
            while (part := await buffer.next_part()) is not None:
                sizes.append(part.size)
                part.release()

        async def send(socket: Socket, buffer: UploadBuffer) -> None:
            for _ in range(32):
                await socket.send(buffer, bytes(SLAB))
                await asyncio.sleep(0)
            buffer.finish()

        pairs = zip(sockets, buffers, strict=True)
        await asyncio.gather(*map(store, buffers), *(send(s, b) for s, b in pairs))
        assert sizes == [8 * SLAB] * 16
        await arena.close()

    run(test)


def test_a_larger_equal_part_is_kept_room_for_and_others_go_on_through_the_reserve() -> None:
    async def test() -> None:
        arena = Arena(memory(20), reserve_bytes=4 * SLAB)
        large = Socket().open(arena, needs(part_size=12 * SLAB, equal=True))
        other = Socket().open(arena, needs(4 * SLAB, 40 * SLAB))
        other.feed(bytes(20 * SLAB))
        assert other.parts_waiting == 1
        assert arena.stats.slabs_free >= 16
        assert large.feed(bytes(12 * SLAB)) == 12 * SLAB
        assert large.parts_waiting == 1
        with pytest.raises(MemoryShort, match="17408 bytes"):
            Socket().open(arena, needs(part_size=17 * SLAB, equal=True))
        await arena.close()

    run(test)


def test_an_equal_part_larger_than_memory_is_collected_on_disk() -> None:
    async def test() -> None:
        arena = Arena(memory(20, blocks=100), reserve_bytes=4 * SLAB)
        wants = needs(part_size=90 * SLAB, equal=True)
        assert arena.largest_part(wants) == 100 * SLAB
        data = random.Random(5).randbytes(200 * SLAB)
        pairs = [(socket, socket.open(arena, wants)) for socket in (Socket(), Socket())]
        stored = [bytearray(), bytearray()]

        async def store(buffer: UploadBuffer, into: bytearray) -> None:
            while (part := await buffer.next_part()) is not None:
                into.extend(await bytes_of(part))
                part.release()

        async def send(socket: Socket, buffer: UploadBuffer) -> None:
            await socket.send(buffer, data)
            buffer.finish()

        await asyncio.gather(
            *(send(*pair) for pair in pairs),
            *(store(pair[1], into) for pair, into in zip(pairs, stored, strict=True)),
        )
        assert stored == [data, data]
        await arena.close()

    run(test)


def test_an_only_part_may_have_what_the_disk_holds_and_one_slab_hears_that_it_ends() -> None:
    async def test() -> None:
        arena = Arena(memory(20, blocks=100), reserve_bytes=4 * SLAB)
        wants = StoreNeeds(min_part=1, part_size=1 << 40, max_part=1 << 40, max_parts=1)
        largest = arena.largest_part(wants)
        assert largest == 99 * SLAB
        socket = Socket()
        buffer = arena.open(
            wants,
            lambda number: 1 << 40,
            Callbacks(socket.pause, socket.may_read.set),
            most=largest,
        )
        await socket.send(buffer, bytes(largest + 1))
        assert buffer.total == largest + 1
        await arena.close()

    run(test)


def test_without_disk_a_tail_that_fell_silent_is_cut_where_the_store_takes_it() -> None:
    async def test() -> None:
        arena = Arena(memory(12), reserve_bytes=2 * SLAB)
        silent, busy = Socket().open(arena, needs()), Socket().open(arena, needs())
        assert silent.feed(bytes(4 * SLAB)) == 4 * SLAB
        assert busy.feed(bytes(6 * SLAB)) > 0
        assert silent.parts_waiting == 1
        await arena.close()

    run(test)


def test_flying_parts_beyond_their_share_pause_their_own_upload_only() -> None:
    async def test() -> None:
        arena = Arena(memory(40, flying=0.25), reserve_bytes=4 * SLAB)
        socket = Socket()
        fast, slow = socket.open(arena, needs()), Socket().open(arena, needs())
        assert fast.feed(bytes(30 * SLAB)) == 16 * SLAB
        assert arena.stats.flying == 16 * SLAB
        assert slow.feed(bytes(100)) == 100
        part = await fast.next_part()
        assert part is not None
        assert not socket.may_read.is_set()
        part.release()
        await asyncio.wait_for(socket.may_read.wait(), 20)
        await arena.close()

    run(test)


def test_a_new_upload_is_refused_only_when_memory_disk_and_queue_are_full() -> None:
    async def test() -> None:
        arena = Arena(memory(10, queue=2), reserve_bytes=4 * SLAB)
        hogs = [Socket().open(arena, needs()) for _ in range(2)]
        waiting = [Socket().open(arena, needs()) for _ in range(3)]
        for hog in hogs:
            assert hog.feed(bytes(3 * SLAB)) == 3 * SLAB
        for buffer in waiting:
            assert buffer.room() == 0  # the first of them owns the reserve and waits no more
        assert arena.stats.paused == 2
        with pytest.raises(MemoryShort, match="2 uploads wait"):
            Socket().open(arena, needs())
        waiting[1].close()
        Socket().open(arena, needs())
        await arena.close()

    run(test)


def test_a_store_that_takes_any_size_gets_small_pieces_instead_of_the_disk() -> None:
    async def test() -> None:
        arena = Arena(memory(20, blocks=100), reserve_bytes=SLAB)
        buffers = [Socket().open(arena, needs(1, 100 * SLAB)) for _ in range(18)]
        for buffer in buffers:
            buffer.feed(b"a few bytes")
        assert arena.stats.spilled_total == 0
        assert sum(buffer.parts_waiting for buffer in buffers) >= 9
        await arena.close()

    run(test)


# --- the disk


@pytest.mark.parametrize("has_spare", [False, True])
def test_parts_are_cut_only_where_the_store_has_some_to_spare(*, has_spare: bool) -> None:
    async def test() -> None:
        arena = Arena(memory(12, blocks=64), reserve_bytes=4 * SLAB)
        socket = Socket()
        buffer = socket.open(arena, needs(part_size=16 * SLAB))
        buffer.spare = 64 * SLAB if has_spare else 0
        data = random.Random(1).randbytes(48 * SLAB)
        sent = asyncio.create_task(socket.send(buffer, data))
        sent.add_done_callback(lambda done: buffer.finish())
        got = []
        while (part := await buffer.next_part()) is not None:
            got.append(await bytes_of(part))
            part.release()
        await sent
        assert b"".join(got) == data
        assert (len(got) > 3) == has_spare
        assert (arena.stats.spilled_total == 0) == has_spare
        buffer.close()
        await arena.close()

    run(test)


def test_whole_bodies_that_wait_for_their_store_make_room_for_others_the_newest_first() -> None:
    async def test() -> None:
        arena = Arena(memory(20, blocks=100), reserve_bytes=4 * SLAB)
        bodies = [bytes([number]) * (3 * SLAB) for number in range(4)]
        whole = [Socket().open(arena, needs()) for _ in bodies]
        for buffer, body in zip(whole, bodies, strict=True):
            assert buffer.feed(body) == len(body)
            buffer.finish()
        being_sent = await whole[3].next_part()
        assert being_sent is not None
        socket = Socket()
        other = socket.open(arena, needs(40 * SLAB, 40 * SLAB))
        await socket.send(other, bytes(30 * SLAB))
        await until(lambda: arena.stats.spilled_now >= 30 * SLAB)
        assert being_sent.slabs == 3
        parts = [await buffer.next_part() for buffer in whole[:3]]
        assert [part.slabs for part in parts if part is not None] == [3, 0, 0]
        for part, body in zip((*parts, being_sent), bodies, strict=True):
            assert part is not None
            assert await bytes_of(part) == body
            part.release()
        await arena.close()
        assert arena.stats.spilled_now == 0

    run(test)


def test_a_whole_body_that_is_sent_while_it_is_written_gives_all_back() -> None:
    async def test() -> None:
        threads = HeldBack()
        arena = Arena(memory(20, blocks=100), reserve_bytes=4 * SLAB, executor=threads)
        whole = Socket().open(arena, needs(part_size=16 * SLAB))
        body = random.Random(3).randbytes(12 * SLAB)
        assert whole.feed(body) == len(body)
        whole.finish()
        other = Socket().open(arena, needs())
        assert other.feed(bytes(2 * SLAB)) == 2 * SLAB
        assert threads.jobs
        part = await whole.next_part()
        assert part is not None
        assert await bytes_of(part) == body
        part.release()
        whole.close()
        await threads.close(arena)
        assert (arena.stats.spilled_now, arena.stats.slabs_used) == (0, 0)

    run(test)


def test_above_low_water_nothing_touches_the_disk() -> None:
    async def test() -> None:
        threads = HeldBack()
        arena = Arena(memory(42, blocks=100, flying=0), reserve_bytes=SLAB, executor=threads)
        buffer = Socket().open(arena, needs(1 * SLAB, 100 * SLAB))
        buffer.feed(bytes(30 * SLAB))  # of 40 beyond the reserve: 10 are left, a quarter
        assert buffer.room() > 0
        assert not threads.jobs
        buffer.feed(bytes(1))
        buffer.feed(bytes(SLAB))
        assert len(threads.jobs) == 1
        threads.work()
        await until(lambda: arena.stats.slabs_used == 1)
        assert arena.stats.spilled_now == 31 * SLAB
        await threads.close(arena)

    run(test)


def test_many_tails_are_sent_away_in_batches_between_which_others_have_their_turn() -> None:
    async def test() -> None:
        disk = HeldBack()
        count = 8 * BATCH
        arena = Arena(memory(count, blocks=count), reserve_bytes=4 * SLAB, executor=disk)
        buffers = [Socket().open(arena, needs()) for _ in range(count - count // 8)]
        written = []
        for buffer in buffers:
            assert buffer.room()
            buffer.feed(b"x")
            if disk.jobs and not written:  # low water: what is sent away before anybody else's turn
                written.append(arena.stats.spilled_now)
        assert written == [BATCH * SLAB]
        for turn in range(1, 3):
            assert len(disk.jobs) == turn
            await asyncio.sleep(0)
        await until(lambda: not arena._eviction._goes_on)
        assert arena.stats.slabs_free + arena._spill.writing == arena._policy.high
        await disk.close(arena)

    run(test)


def test_an_upload_goes_on_receiving_while_it_is_spilled() -> None:
    async def test() -> None:
        threads = HeldBack()
        arena = Arena(memory(21, blocks=100, flying=0), reserve_bytes=SLAB, executor=threads)
        buffer = Socket().open(arena, needs(1 * SLAB, 17 * SLAB))
        data = random.Random(3).randbytes(17 * SLAB)
        assert buffer.feed(data) == len(data)
        assert threads.jobs  # the part is complete, and most of it is being written
        part = await buffer.next_part()
        assert part is not None
        assert await bytes_of(part) == data
        views = [views async for views in part.chunks()]
        threads.work()
        await until(lambda: arena.stats.spilled_total > 0)
        assert b"".join(views[0]) == data
        reading = asyncio.ensure_future(bytes_of(part))
        while not reading.done():
            threads.work()
            await asyncio.sleep(0)
        assert reading.result() == data
        del views
        await threads.close(arena)
        assert arena.stats.slabs_used == 0

    run(test)


def test_an_owner_that_hoped_for_a_spill_is_cut_when_that_fails() -> None:
    async def test() -> None:
        threads = HeldBack()
        arena = Arena(
            memory(10, blocks=100),
            reserve_bytes=4 * SLAB,
            executor=threads,
            spill_file=BrokenDisk(),
        )
        arena._spill._blocks.limit = 0  # the disk was full a moment ago
        for _ in range(2):
            hog = Socket().open(arena, needs())
            assert hog.feed(bytes(3 * SLAB)) == 3 * SLAB
        owner = Socket().open(arena, needs())
        assert owner.room() == 0
        assert owner.feed(bytes(4 * SLAB)) == 4 * SLAB
        arena._spill._restored()
        assert owner.room() == 0
        assert threads.jobs
        assert owner.parts_waiting == 0
        threads.work()
        await until(lambda: owner.parts_waiting == 1)
        await threads.close(arena)

    run(test)


def test_what_room_promised_is_taken_in_any_pieces_even_where_tails_are_sent_away() -> None:
    async def test() -> None:
        arena = Arena(memory(12, blocks=3), reserve_bytes=4 * SLAB)
        buffers = [Socket().open(arena, needs(4 * SLAB, 40 * SLAB)) for _ in range(6)]
        refused = 0
        for turn in range(200):
            buffer = buffers[turn % 6]
            room = buffer.room()
            for size in (1, room // 3, room - 1 - room // 3):
                assert buffer.feed(bytes(max(0, size))) == max(0, size) if room else True
            refused += room == 0
            await asyncio.sleep(0)
        assert refused
        await arena.close()

    run(test)


def test_a_full_disk_costs_no_byte_and_shrinks_the_budget(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        disk = BrokenDisk()
        arena = Arena(memory(20, blocks=100, flying=0), reserve_bytes=4 * SLAB, spill_file=disk)
        socket = Socket()
        buffer = socket.open(arena, needs(4 * SLAB, 40 * SLAB))
        data = random.Random(4).randbytes(60 * SLAB)
        stored = bytearray()

        async def store() -> None:
            while (part := await buffer.next_part()) is not None:
                stored.extend(await bytes_of(part))
                part.release()

        storing = asyncio.ensure_future(store())
        await socket.send(buffer, data)
        buffer.finish()
        await storing
        assert stored == data
        assert arena.stats.spilled_total == arena.stats.spilled_now == 0
        assert arena._spill._blocks.limit == 0
        await arena.close()

    run(test)
    assert "No space left on device" in caplog.text


def test_a_disk_that_cannot_be_read_is_our_fault() -> None:
    async def test() -> None:
        disk = BrokenDisk()
        disk.is_broken = False
        arena = Arena(memory(10, blocks=100, flying=0), reserve_bytes=4 * SLAB, spill_file=disk)
        socket = Socket()
        buffer = socket.open(arena, needs(4 * SLAB, 20 * SLAB))
        await socket.send(buffer, bytes(20 * SLAB))
        part = await buffer.next_part()
        assert part is not None
        disk.is_broken = True
        with pytest.raises(OwnFault, match="Input/output"):
            await bytes_of(part)
        await arena.close()

    run(test)


def test_a_failed_write_keeps_no_blocks() -> None:
    async def test() -> None:
        disk = BrokenDisk()
        arena = Arena(memory(20, blocks=100), reserve_bytes=16 * SLAB, spill_file=disk)
        buffer = Socket().open(arena, needs(16 * SLAB, 40 * SLAB))
        assert buffer.feed(bytes(4 * SLAB)) == 4 * SLAB
        assert buffer.room() == 0
        assert arena.stats.spilled_now > 0
        await until(lambda: arena.stats.spilled_now == 0)
        assert arena.stats.slabs_used == 4
        await arena.close()

    run(test)


def test_disk_freed_in_bulk_goes_back_to_the_file_system() -> None:
    async def test() -> None:
        trimmed: list[Extent] = []

        class Watched(SpillFile):
            def trim(self, extents: Any) -> None:
                trimmed.extend(extents)
                super().trim(extents)

        arena = Arena(
            memory(10, blocks=100, flying=0), reserve_bytes=4 * SLAB, spill_file=Watched()
        )
        socket = Socket()
        buffer = socket.open(arena, needs(4 * SLAB, 60 * SLAB))
        await socket.send(buffer, bytes(50 * SLAB))
        buffer.close()
        await until(lambda: sum(extent.size for extent in trimmed) >= 25 * SLAB)
        await arena.close()

    run(test)


def test_a_budget_without_room_for_the_reserve_is_an_error() -> None:
    async def test() -> None:
        Arena(memory(4), reserve_bytes=4 * SLAB)

    with pytest.raises(ValueError, match=r"memory\.budget"):
        run(test)


def test_a_buffered_part_is_what_stores_take() -> None:
    async def test() -> None:
        arena = Arena(memory(10), reserve_bytes=SLAB)
        buffer = Socket().open(arena, needs())
        buffer.finish()
        part: BufferedPart | None = await buffer.next_part()
        assert part is not None
        body: PartBody = part
        assert (body.number, body.size) == (1, 0)
        assert [views async for views in body.chunks()] == []
        await arena.close()

    run(test)
