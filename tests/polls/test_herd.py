import asyncio

import pytest

from fastproxy.deadlines import TICK_S, Deadlines
from fastproxy.polls.herd import Herd


class Sheep:
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


def gone(sheep: list[Sheep]) -> int:
    return sum(each.has_gone for each in sheep)


def test_so_many_go_at_once_and_so_many_with_each_tick_in_order(deadlines: Deadlines) -> None:
    herd = Herd(40, deadlines)
    sheep = [Sheep() for _ in range(25)]
    for each in sheep:
        herd.add(each)
    now, seen = deadlines.now, []
    while gone(sheep) < 25:
        seen.append(gone(sheep))
        assert [each.has_gone for each in sheep] == [True] * seen[-1] + [False] * (25 - seen[-1])
        now += TICK_S
        deadlines.check(now)
    assert seen == [10, 20]
    for _ in range(8):
        now += TICK_S
        deadlines.check(now)
    assert len(deadlines) == 0, "it rests"
    more = [Sheep() for _ in range(11)]
    for each in more:
        herd.add(each)
    assert (gone(more), len(herd)) == (10, 1)


def test_who_has_left_takes_no_place(deadlines: Deadlines) -> None:
    herd = Herd(4, deadlines)
    first, *left = Sheep(), *(Sheep(stays=False) for _ in range(100))
    last = Sheep()
    for each in (first, *left, last):
        herd.add(each)
    assert (first.has_gone, last.has_gone) == (True, False)
    deadlines.check(deadlines.now + 3 * TICK_S)
    assert last.has_gone


def test_without_a_limit_all_go_at_once(deadlines: Deadlines) -> None:
    herd, sheep = Herd(0, deadlines), [Sheep() for _ in range(1000)]
    for each in sheep:
        herd.add(each)
    assert gone(sheep) == 1000
    assert len(deadlines) == 0
