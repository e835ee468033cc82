"""Processes that scale images: bounded, replaced, and gone when they are not needed any more."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from fastproxy.images import pool
from fastproxy.images.pool import Bounds, CannotScale, Read, Scalers
from tests.images.test_scale import opened, picture
from tests.service.running import children, eventually, is_alive

WIDE = picture("PNG", (2000, 1000))


def giving(data: bytes) -> Read:
    async def read() -> bytes:
        return data

    return read


wide = giving(WIDE)


def with_scalers(work: Callable[[Scalers], Awaitable[None]], bounds: Bounds = Bounds()) -> None:  # noqa: B008
    """Run `work`; afterwards no process is left."""

    async def main() -> None:
        scalers = Scalers(bounds)
        try:
            await work(scalers)
        finally:
            await scalers.close()

    before = set(children(os.getpid()))
    uvloop.run(main())
    assert set(children(os.getpid())) <= before


def scalers_running() -> list[int]:
    return [
        pid
        for pid in children(os.getpid())
        if b"fastproxy.images.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_images_are_scaled_one_after_another_by_one_process() -> None:
    async def work(scalers: Scalers) -> None:
        for width in (100, 200):
            assert opened(await scalers.scale(wide, "image/png", width)).width == width
            assert scalers.running == 1
        (pid,) = scalers_running()
        with pytest.raises(CannotScale, match="no PNG"):
            await scalers.scale(giving(b"no image"), "image/png", 100)
        assert scalers_running() == [pid]

    with_scalers(work)


def test_many_at_once_share_few_processes() -> None:
    async def work(scalers: Scalers) -> None:
        widths = range(100, 110)
        made = await asyncio.gather(*(scalers.scale(wide, "image/png", each) for each in widths))
        assert [opened(image).width for image in made] == list(widths)
        assert len(scalers_running()) == 2

    with_scalers(work)


def test_more_than_may_wait_are_refused_at_once() -> None:
    async def work(scalers: Scalers) -> None:
        asked = [scalers.scale(wide, "image/png", 100) for _ in range(4)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(result, CannotScale) for result in results] == [False, False, True, True]

    with_scalers(work, Bounds(processes=1, queue=1))


def test_an_image_is_read_when_it_has_its_turn_and_not_before() -> None:
    async def work(scalers: Scalers) -> None:
        reading, most = 0, 0

        async def read() -> bytes:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0)
            reading -= 1
            return WIDE

        await asyncio.gather(*(scalers.scale(read, "image/png", 100) for _ in range(6)))
        assert most == 1
        assert reading == 0

    with_scalers(work, Bounds(processes=1))


def test_a_source_that_fails_leaves_its_turn_to_the_next() -> None:
    async def fail() -> bytes:
        raise KeyError

    async def work(scalers: Scalers) -> None:
        for _ in range(3):
            with pytest.raises(KeyError):
                await scalers.scale(fail, "image/png", 100)
        assert opened(await scalers.scale(wide, "image/png", 100)).width == 100

    with_scalers(work, Bounds(processes=1))


def test_a_process_that_announces_more_than_an_image_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_MOST_MADE", 10)

    async def work(scalers: Scalers) -> None:
        with pytest.raises(CannotScale, match="died"):
            await scalers.scale(wide, "image/png", 100)
        assert scalers_running() == []

    with_scalers(work)


def test_a_process_that_dies_is_replaced() -> None:
    async def work(scalers: Scalers) -> None:
        await scalers.scale(wide, "image/png", 100)
        (pid,) = scalers_running()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CannotScale, match="died"):
            await scalers.scale(wide, "image/png", 100)
        assert opened(await scalers.scale(wide, "image/png", 100)).width == 100

    with_scalers(work)


def test_one_that_takes_too_long_is_killed() -> None:
    async def work(scalers: Scalers) -> None:
        await scalers.scale(wide, "image/png", 100)
        (pid,) = scalers_running()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(CannotScale, match="within"):
            await scalers.scale(wide, "image/png", 100)
        assert not is_alive(pid)

    with_scalers(work, Bounds(timeout_s=3))


def test_one_that_wants_too_much_memory_is_refused_and_lives() -> None:
    async def work(scalers: Scalers) -> None:
        with pytest.raises(CannotScale, match="memory"):
            await scalers.scale(giving(picture("PNG", (9000, 9000))), "image/png", 8999)
        assert opened(await scalers.scale(wide, "image/png", 100)).width == 100

    with_scalers(work, Bounds(memory=300 << 20, max_pixels=100_000_000))


def test_a_source_that_is_too_large_is_not_even_sent() -> None:
    async def work(scalers: Scalers) -> None:
        with pytest.raises(CannotScale, match="bytes"):
            await scalers.scale(wide, "image/png", 100)
        assert scalers_running() == []

    with_scalers(work, Bounds(max_source=len(WIDE) - 1))


def test_a_client_that_leaves_ends_its_process() -> None:
    async def work(scalers: Scalers) -> None:
        await scalers.scale(wide, "image/png", 100)
        (pid,) = scalers_running()
        os.kill(pid, signal.SIGSTOP)
        task = asyncio.create_task(scalers.scale(wide, "image/png", 100))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        eventually(lambda: not is_alive(pid), "its end")

    with_scalers(work)
