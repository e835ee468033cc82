"""Streams that share memory and wait for it."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.chunker import Chunker, PartMemory, PoolExhausted
from tests.support.examples import examples

from .test_iter_parts import expected_parts


async def stream(*pieces):
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


async def until(condition):
    """Let the loop turn until `condition()`; the test's own timeout is the deadline."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the thing waited for has no event
            await asyncio.sleep(0)


async def first_part(memory, size):
    parts = memory.aiter_parts(stream(b"x" * size), size)
    try:
        return await anext(parts)
    finally:
        await parts.aclose()


@examples(60)
@given(
    st.lists(st.lists(st.binary(max_size=40), max_size=6), min_size=1, max_size=6),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_streams_that_share_little_memory_all_get_through(bodies, part_size, slab_size, spare):
    memory = PartMemory(-(-part_size // slab_size) * slab_size + spare * slab_size, slab_size)

    async def upload(body):
        got = []
        async for part in memory.aiter_parts(stream(*body), part_size):
            with part:
                assert part.number == len(got) + 1
                await asyncio.sleep(0)
                got.append(part.tobytes())
        return got

    async def all_uploads():
        async with asyncio.timeout(30):
            return await asyncio.gather(*map(upload, bodies))

    got = asyncio.run(all_uploads())
    assert got == [expected_parts(b"".join(body), lambda number: part_size) for body in bodies]
    assert memory.pool.used_count == 0
    assert memory.pool.on_free is None


def test_a_part_waits_for_memory_and_is_woken_by_the_last_view():
    async def scenario():
        memory = PartMemory(64, 8)
        held = await first_part(memory, 64)
        waiting = asyncio.create_task(first_part(memory, 16))
        await until(lambda: memory.pool.on_free)
        view = held.views[-1]
        held.release()
        view.release()
        (await waiting).release()
        return memory.pool.used_count

    assert asyncio.run(scenario()) == 0


def test_a_view_that_dies_in_another_thread_wakes_who_waits():
    async def scenario():
        memory = PartMemory(64, 8)
        views = list((await first_part(memory, 64)).views)
        waiting = asyncio.create_task(first_part(memory, 64))
        await until(lambda: memory.pool.on_free)
        thread = threading.Thread(target=views.clear)
        thread.start()
        async with asyncio.timeout(10):
            part = await waiting
        thread.join()
        return part.size

    assert asyncio.run(scenario()) == 64


def test_memory_goes_to_who_asked_first():
    async def scenario():
        memory = PartMemory(64, 8)
        held = [await first_part(memory, 32), await first_part(memory, 32)]
        order = []

        async def ask(name, size):
            part = await first_part(memory, size)
            order.append(name)
            part.release()

        tasks = []
        for name, size in (("large", 64), ("small", 8), ("smaller", 1)):
            tasks.append(asyncio.create_task(ask(name, size)))
            await asyncio.sleep(0.001)
        held.pop().release()
        for _ in range(10):
            await asyncio.sleep(0)
        assert order == [], "what the first one waits for is not lent to the others"
        held.pop().release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario())[0] == "large"


def test_a_half_filled_part_has_its_memory_promised():
    async def scenario():
        memory = PartMemory(64, 8)
        go_on = asyncio.Event()

        async def slow():
            yield b"x"
            await go_on.wait()
            yield b"x" * 63

        parts = memory.aiter_parts(slow(), 64)
        one = asyncio.create_task(anext(parts))
        await until(lambda: memory.pool.used_count == 1)
        two = asyncio.create_task(first_part(memory, 8))
        await until(lambda: memory.pool.on_free)
        assert not two.done()
        go_on.set()
        with await one as part:
            assert part.size == 64
        assert (await two).size == 8
        await parts.aclose()

    asyncio.run(scenario())


def test_who_is_cancelled_leaves_the_line():
    async def scenario():
        memory = PartMemory(64, 8)
        held = await first_part(memory, 32)
        large = asyncio.create_task(first_part(memory, 64))
        await until(lambda: memory.pool.on_free)
        small = asyncio.create_task(first_part(memory, 8))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not small.done()
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        (await small).release()
        held.release()
        return memory.pool.used_count

    assert asyncio.run(scenario()) == 0


def test_waiting_can_be_bounded():
    async def scenario():
        memory = PartMemory(64, 8, max_wait=0.01)
        held = await first_part(memory, 64)
        with pytest.raises(PoolExhausted, match=r"within 0\.01 s"):
            await first_part(memory, 1)
        held.release()
        (await first_part(memory, 64)).release()

    asyncio.run(scenario())


def test_a_part_that_can_never_fit_is_refused():
    with pytest.raises(ValueError, match="larger than the PartMemory"):
        asyncio.run(first_part(PartMemory(64, 8), 65))


def test_who_takes_slabs_behind_our_back_is_found_out():
    async def scenario():
        memory = PartMemory(16, 8)
        thief = Chunker(memory.pool, 100)

        async def source():
            yield b"x"
            thief.feed(b"y" * 8)
            yield b"x" * 15

        return [part async for part in memory.aiter_parts(source(), 16)]

    with pytest.raises(PoolExhausted, match="outside"):
        asyncio.run(scenario())


def test_an_empty_stream_needs_no_memory():
    async def scenario():
        memory = PartMemory(64, 8)
        held = await first_part(memory, 64)
        parts = [part.tobytes() async for part in memory.aiter_parts(stream(b""), 8)]
        held.release()
        return parts

    assert asyncio.run(scenario()) == [b""]


def test_a_source_that_breaks_gives_everything_back():
    async def broken():
        yield b"x" * 20
        raise ConnectionResetError

    memory = PartMemory(64, 8)

    async def scenario():
        async for part in memory.aiter_parts(broken(), 16):
            part.release()

    with pytest.raises(ConnectionResetError):
        asyncio.run(scenario())
    assert memory.pool.used_count == 0
