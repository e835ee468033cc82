import asyncio

import pytest

from fastproxy.loop.deadlines import TICK_S, Deadlines
from fastproxy.polls.pacer import Pacer


class Runner:
    def __init__(self, *, stays: bool = True) -> None:
        self.stays = stays
        self.has_gone = False

    def go(self) -> bool:
        self.has_gone = True
        return self.stays


@pytest.fixture
def deadlines() -> Deadlines:
    loop = asyncio.new_event_loop()
    loop.close()
    return Deadlines(loop)


def gone(runners: list[Runner]) -> int:
    return sum(each.has_gone for each in runners)


def test_so_many_go_at_once_and_so_many_with_each_tick_in_order(deadlines: Deadlines) -> None:
    pacer = Pacer(40, deadlines)
    runners = [Runner() for _ in range(25)]
    for each in runners:
        pacer.add(each)
    now, seen = deadlines.now, []
    while gone(runners) < 25:
        seen.append(gone(runners))
        assert [each.has_gone for each in runners] == [True] * seen[-1] + [False] * (25 - seen[-1])
        now += TICK_S
        deadlines.check(now)
    assert seen == [10, 20]
    for _ in range(8):
        now += TICK_S
        deadlines.check(now)
    assert len(deadlines) == 0, "it rests"
    more = [Runner() for _ in range(11)]
    for each in more:
        pacer.add(each)
    assert (gone(more), len(pacer)) == (10, 1)


def test_who_has_left_takes_no_place(deadlines: Deadlines) -> None:
    pacer = Pacer(4, deadlines)
    first, *left = Runner(), *(Runner(stays=False) for _ in range(100))
    last = Runner()
    for each in (first, *left, last):
        pacer.add(each)
    assert (first.has_gone, last.has_gone) == (True, False)
    deadlines.check(deadlines.now + 3 * TICK_S)
    assert last.has_gone


def test_without_a_limit_all_go_at_once(deadlines: Deadlines) -> None:
    pacer, runners = Pacer(0, deadlines), [Runner() for _ in range(1000)]
    for each in runners:
        pacer.add(each)
    assert gone(runners) == 1000
    assert len(deadlines) == 0
