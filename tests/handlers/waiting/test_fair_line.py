from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.handlers.waiting.fair_line import FairLine


def test_keys_take_turns_and_within_a_key_who_came_first_is_first() -> None:
    line: FairLine[str] = FairLine()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.add(item[0], item)
    assert [line.pop() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(line) == 0
    with pytest.raises(KeyError):
        line.pop()


STEPS = st.lists(st.sampled_from(["pop", "remove", *"abc"]), max_size=60)


@given(STEPS)
def test_nobody_is_lost_or_served_twice_and_no_key_waits_longer_than_one_turn_of_each(
    steps: list[str],
) -> None:
    line: FairLine[int] = FairLine()
    waiting: OrderedDict[int, str] = OrderedDict()
    passed_by: dict[str, int] = {}  # turns of others since a key's last one, or its coming
    for number, step in enumerate(steps):
        if step == "pop" and waiting:
            item = line.pop()
            key = waiting.pop(item)
            assert all(other > item for other, its in waiting.items() if its == key)
            for other in set(waiting.values()) - {key}:
                passed_by[other] = passed_by.get(other, 0) + 1
                assert passed_by[other] <= 2
            passed_by[key] = 0
        elif step == "remove" and waiting:
            item, key = next(iter(waiting.items()))
            line.remove(key, item)
            del waiting[item]
        elif step in "abc":
            if step not in waiting.values():
                passed_by[step] = 0
            line.add(step, number)
            waiting[number] = step
        assert len(line) == len(waiting)
        for key in "abc":
            assert line.waiting(key) == list(waiting.values()).count(key)
