"""The order in which tails are spilled."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.memory.account import NEVER, Account
from fastproxy.memory.growth import GrowthOrder


def account(age: int, held: int = 1) -> Account:
    made = Account(age=age, opened_at=0.0)
    made.held = held
    return made


def test_the_one_that_grew_least_lately_comes_first() -> None:
    order = GrowthOrder()
    small, large = account(1, held=1), account(2, held=9)
    order.touch(small)
    order.advance()
    order.touch(large)
    assert [order.pop(), order.pop(), order.pop()] == [small, large, None]


def test_among_equals_the_largest_comes_first() -> None:
    order = GrowthOrder()
    tails = [account(n, held) for n, held in enumerate([2, 7, 1, 5])]
    for tail in tails:
        order.touch(tail)
    assert [a.held for a in iter(order.pop, None)] == [7, 5, 2, 1]


def test_growing_moves_to_the_end() -> None:
    order = GrowthOrder()
    first, second = account(1), account(2)
    order.touch(first)
    order.touch(second)
    order.advance()
    order.touch(first)
    assert [order.pop(), order.pop()] == [second, first]


def test_growing_while_its_epoch_is_worked_off_moves_to_the_end_as_well() -> None:
    order = GrowthOrder()
    tails = [account(n, held=n) for n in range(1, 4)]
    for tail in tails:
        order.touch(tail)
    assert order.pop() is tails[2]
    order.touch(tails[1])
    assert [order.pop(), order.pop()] == [tails[0], tails[1]]


@given(st.lists(st.tuples(st.sampled_from(["touch", "drop", "pop", "advance"]), st.integers(0, 5))))
def test_the_order_holds_exactly_who_grew_and_was_not_taken_out(
    steps: list[tuple[str, int]],
) -> None:
    order = GrowthOrder()
    accounts = [account(n, held=n) for n in range(6)]
    model: dict[Account, int] = {}  # when each grew last
    for now, (step, n) in enumerate(steps):
        if step == "touch":
            order.touch(accounts[n])
            model[accounts[n]] = now
        elif step == "drop":
            order.drop(accounts[n])
            model.pop(accounts[n], None)
        elif step == "advance":
            order.advance()
        elif (victim := order.pop()) is None:
            assert not model
        else:
            del model[victim]
        assert {a for a in accounts if a.epoch != NEVER} == set(model)
