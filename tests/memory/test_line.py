"""The line: whatever is asked and left, each in it could finish if all before it had."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.memory.account import Account, Standing
from fastproxy.memory.line import Line

STEPS = st.lists(st.tuples(st.sampled_from(["join", "take", "spill", "leave", "part", "round"]),
                           st.integers(0, 30)), max_size=80)  # fmt: skip


def account(age: int, claim: int) -> Account:
    return Account(age=age, opened_at=0.0, claim=claim)


def is_safe(line: Line) -> bool:
    behind = 0
    for member in reversed(line._members):
        if behind + member.claim > line.capacity:
            return False
        behind += member.disk if line.is_on_disk else member.held
    return True


@given(memory=st.integers(1, 30), disk=st.sampled_from([0, 5, 40, 100]), steps=STEPS)
def test_each_in_line_could_finish_if_all_before_it_had(
    memory: int, disk: int, steps: list[tuple[str, int]]
) -> None:
    line = Line(memory, disk)
    members: list[Account] = []
    for age, (step, n) in enumerate(steps):
        if step == "join":
            members.append(account(age, 1 + n % line.capacity))
            line.join(members[-1])
        elif step == "round":
            line.pass_on()
        elif members:
            _step(line, members, step, members[n % len(members)])
        assert is_safe(line)
        assert line._held == sum(member.held for member in members)
        assert line._disk == sum(member.disk for member in members)


def _step(line: Line, members: list[Account], step: str, member: Account) -> None:
    if step == "take":
        if line.admits(member) and member.held + member.disk < member.claim:
            line.hold(member, held=member.held + 1, disk=member.disk)
    elif step == "spill":
        if line.may_spill(member, member.held):
            line.hold(member, held=0, disk=member.disk + member.held)
    else:
        line.hold(member, held=0, disk=0)
        if step == "part":
            line.step_back(member)
        else:
            line.leave(member)
            members.remove(member)


def test_who_is_behind_waits_where_the_largest_claim_leaves_nothing() -> None:
    line = Line(memory=8, disk=0)
    first, second = account(1, 8), account(2, 2)
    line.join(first)
    line.join(second)
    assert line.admits(first)
    assert not line.admits(second)
    line.leave(first)
    assert line.admits(second)


def test_who_is_behind_has_what_the_largest_claim_leaves_and_half_the_memory() -> None:
    line = Line(memory=8, disk=20)
    first, second = account(1, 15), account(2, 15)
    line.join(first)
    line.join(second)
    assert line.may_spill(second, 5)
    assert not line.may_spill(second, 6)
    assert line.may_spill(first, 15)
    line.hold(second, held=2, disk=5)
    assert line.admits(second)
    line.hold(second, held=3, disk=5)
    assert not line.admits(second)


def test_a_head_that_holds_nothing_gives_way_unless_it_waits() -> None:
    line = Line(memory=8, disk=20)
    first, second = account(1, 15), account(2, 15)
    line.join(first)
    line.join(second)
    first.standing = Standing.LINED
    line.pass_on()
    assert line.head is first
    first.standing = Standing.READING
    line.pass_on()
    assert line.head is second
    line.hold(second, held=1, disk=0)
    line.pass_on()
    assert line.head is second


def test_less_is_kept_for_the_head_the_more_it_has() -> None:
    line = Line(memory=8, disk=0)
    only = account(1, 5)
    assert line.kept == 0
    line.join(only)
    assert line.kept == 5
    line.hold(only, held=3, disk=0)
    assert line.kept == 2
