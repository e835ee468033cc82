"""Deadlines of many with one timer: each told once, in time, and nobody kept."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.loop.deadlines import NEVER, TICK_S, Deadlines, Timed


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is told to move."""

    def __init__(self) -> None:
        self.at = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.at


class Sleeper(Timed):
    is_over = False

    def __init__(self, deadline: float = NEVER) -> None:
        super().__init__()
        self.deadline = deadline
        self.told_at: list[float] = []

    def on_deadline(self, now: float) -> None:
        self.told_at.append(now)


def run(deadlines: Deadlines, until: float, step: float = TICK_S) -> None:
    while deadlines.now < until:
        deadlines.check(deadlines.now + step)


def made() -> Deadlines:
    loop = Clock()
    deadlines = Deadlines(loop)
    loop.close()
    return deadlines


@given(
    st.lists(st.floats(0, 200), min_size=1, max_size=30),
    st.sampled_from([0.01, 0.25, 0.7, 3.0]),
)
def test_everybody_is_told_once_and_in_time(waits: list[float], step: float) -> None:
    deadlines = made()
    sleepers = [Sleeper(1000 + wait) for wait in waits]
    for sleeper in sleepers:
        deadlines.watch(sleeper)
    run(deadlines, 1205, step)
    for sleeper in sleepers:
        (told_at,) = sleeper.told_at
        latest = max(sleeper_deadline(sleeper, sleepers, waits), 1000) + 2 * TICK_S + step
        assert sleeper_deadline(sleeper, sleepers, waits) <= told_at <= latest


def sleeper_deadline(sleeper: Sleeper, sleepers: list[Sleeper], waits: list[float]) -> float:
    return 1000 + waits[sleepers.index(sleeper)]


def test_a_deadline_that_moves_away_needs_no_call() -> None:
    deadlines = made()
    sleeper = Sleeper(1001)
    deadlines.watch(sleeper)
    for second in range(1, 50):
        sleeper.deadline = 1001 + second
        run(deadlines, 1000 + second)
    assert sleeper.told_at == []
    run(deadlines, 1052)
    assert len(sleeper.told_at) == 1


def test_a_deadline_that_comes_nearer_is_kept_when_watched_again() -> None:
    deadlines = made()
    sleeper = Sleeper(1050)
    deadlines.watch(sleeper)
    sleeper.deadline = 1002
    deadlines.watch(sleeper)
    run(deadlines, 1003)
    assert len(sleeper.told_at) == 1


def test_one_without_a_deadline_may_get_one_unasked() -> None:
    deadlines = made()
    sleeper = Sleeper()
    deadlines.watch(sleeper)
    run(deadlines, 1030)
    sleeper.deadline = 1031
    run(deadlines, 1062)
    assert len(sleeper.told_at) == 1


def test_the_forgotten_and_the_over_are_not_kept() -> None:
    deadlines = made()
    sleepers = [Sleeper(1001) for _ in range(10)]
    for sleeper in sleepers:
        deadlines.watch(sleeper)
    for sleeper in sleepers[:5]:
        deadlines.forget(sleeper)
    for sleeper in sleepers[5:]:
        sleeper.is_over = True
        sleeper.deadline = NEVER
    run(deadlines, 1070)
    assert len(deadlines) == 0
    assert [sleeper.told_at for sleeper in sleepers] == [[]] * 10


class Meddler(Sleeper):
    """Told, it forgets another and watches it again with a later deadline."""

    def __init__(self, deadlines: Deadlines, other: Sleeper) -> None:
        super().__init__(1001)
        self.deadlines, self.other = deadlines, other

    def on_deadline(self, now: float) -> None:
        super().on_deadline(now)
        if not self.other.told_at:
            self.deadlines.forget(self.other)
            self.other.deadline = now + 5
            self.deadlines.watch(self.other)


def test_one_that_is_told_may_move_another_of_the_same_moment() -> None:
    moved = 0
    for _ in range(20):  # the order within one moment is that of a set
        deadlines = made()
        other = Sleeper(1001)
        meddlers = [Meddler(deadlines, other) for _ in range(5)]
        for sleeper in (*meddlers, other):
            deadlines.watch(sleeper)
        run(deadlines, 1010)
        assert len(other.told_at) == 1
        moved += other.told_at[0] > 1005
    assert moved


def test_the_timer_runs_while_started() -> None:
    async def main() -> None:
        deadlines = Deadlines(asyncio.get_running_loop())
        told = asyncio.Event()

        class Waker(Sleeper):
            def on_deadline(self, now: float) -> None:
                self.is_over = True
                told.set()

        deadlines.start()
        deadlines.watch(Waker(deadlines.now + 0.1))
        async with asyncio.timeout(10):
            await told.wait()
        deadlines.stop()
        await asyncio.sleep(0)
        assert len(deadlines) == 0

    asyncio.run(main())
