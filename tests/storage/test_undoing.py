"""Taking back: until it works, within bounds, and not after the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from fastproxy.errors import StorageFault, StoreRefused, StoreUnavailable
from fastproxy.storage import undoing as undoing_module
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Journal
from fastproxy.storage.undoing import Undoing

AT_ONCE = RetryPolicy(attempts=5, base_s=0)
NEVER = RetryPolicy(attempts=5, base_s=1e6, cap_s=1e6, rand=lambda: 1.0)


class Act:
    """Meets `faults` in turn, then works."""

    def __init__(self, *faults: StorageFault) -> None:
        self.faults = list(faults)
        self.seen: list[Leftover] = []

    async def __call__(self, left: Leftover) -> None:
        self.seen.append(left)
        if self.faults:
            raise self.faults.pop(0)


def begun(undoing: Undoing, stage: Stage = Stage.STORED, delete_url: str = "") -> int:
    left = Leftover("k", stage, 1000.0, "w", delete_url=delete_url)
    return undoing.journal.begin("s", "place", left)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(main())


async def ended(undoing: Undoing) -> None:
    while undoing.journal.live:  # noqa: ASYNC110 - a journal has no events
        await asyncio.sleep(0)


def test_it_is_tried_until_the_store_lets_us(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        undoing = Undoing(Journal(), settle_s=0, again=AT_ONCE)
        act = Act(StoreUnavailable("down"), StoreRefused("denied"), StoreUnavailable("down"))
        await undoing.undo(begun(undoing), act)
        assert len(act.seen) == 1  # who waits, waits for the first attempt only
        await ended(undoing)
        assert len(act.seen) == 4
        await undoing.close()

    with caplog.at_level(logging.WARNING):
        run(body)
    assert [record.getMessage() for record in caplog.records] == ["not removed yet: down"]


@pytest.mark.parametrize("stage", Stage)
def test_what_was_in_doubt_is_looked_at_twice(stage: Stage) -> None:
    async def body() -> None:
        undoing, act = Undoing(Journal(), settle_s=0), Act()
        await undoing.undo(begun(undoing, stage), act)
        await ended(undoing)
        in_doubt = stage in (Stage.INTENT, Stage.UPLOADING, Stage.COMPLETING)
        assert len(act.seen) == (2 if in_doubt else 1)
        await undoing.close()

    run(body)


def test_nothing_is_undone_twice_at_a_time_nor_after_its_end() -> None:
    async def body() -> None:
        undoing, act = Undoing(Journal(), settle_s=0), Act()
        entry = begun(undoing)
        await asyncio.gather(undoing.undo(entry, act), undoing.undo(entry, act))
        await undoing.undo(entry, act)
        assert len(act.seen) == 1

    run(body)


def test_a_cancelled_caller_does_not_stop_it() -> None:
    async def body() -> None:
        undoing, go = Undoing(Journal(), settle_s=0), asyncio.Event()

        async def act(left: Leftover) -> None:
            await go.wait()

        caller = asyncio.create_task(undoing.undo(begun(undoing), act))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        closing = asyncio.create_task(undoing.close())
        await asyncio.sleep(0)
        go.set()
        await closing
        assert undoing.journal.live == ()

    run(body)


@pytest.mark.parametrize("works", [True, False])
def test_closing_tries_once_more_what_waits_for_a_better_time(works: bool) -> None:
    async def body() -> None:
        undoing = Undoing(Journal(), settle_s=0, again=NEVER)
        act = Act(*[StoreUnavailable("down")] * (2 if works else 9))
        await undoing.undo(begun(undoing), act)
        while len(act.seen) < 2:  # noqa: ASYNC110 - the second attempt has no pause before it
            await asyncio.sleep(0)
        await undoing.close()
        assert len(act.seen) == 3
        assert len(undoing.journal.live) == (0 if works else 1)

    run(body)


def test_closing_does_not_wait_longer_than_it_may() -> None:
    async def body() -> None:
        undoing, was_cut = Undoing(Journal(), settle_s=0), asyncio.Event()

        async def act(left: Leftover) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                was_cut.set()

        undoing.start(begun(undoing), act)
        await undoing.close(0.01)
        assert was_cut.is_set()
        assert len(undoing.journal.live) == 1

    run(body)


def test_an_expired_url_is_given_up_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        undoing, act = Undoing(Journal(), settle_s=0), Act(StoreRefused("expired"))
        await undoing.undo(begun(undoing, delete_url="http://h/?sig"), act)
        assert undoing.journal.live == ()

    run(body)
    assert [record.__dict__["key"] for record in caplog.records] == ["k"]


def test_only_so_many_wait_for_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr(undoing_module, "MAX_WAITING", 3)
        undoing = Undoing(Journal(), settle_s=0, again=NEVER)
        for _ in range(10):
            await undoing.undo(begun(undoing), Act(*[StoreUnavailable("down")] * 9))
            await asyncio.sleep(0)
        assert len(undoing._tasks) == 3
        await undoing.close()
        assert len(undoing.journal.live) == 10

    run(body)
