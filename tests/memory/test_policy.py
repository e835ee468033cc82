"""Rules of the policy that need no memory to be seen."""

from fastproxy.memory.account import Account
from fastproxy.memory.policy import Marks, Policy

MARKS = Marks(
    slabs=16, blocks=100, reserve=4, low_water=0.25, high_water=0.5, flying_share=0.5, queue=100
)


def owning(policy: Policy, age: int, *, is_endless: bool = False) -> Account:
    """An upload that waited and got the reserve."""
    account = Account(age, 0.0)
    account.is_endless = is_endless
    policy.open(account)
    policy.pause(account)
    assert policy.resumable(free=4, limit=1, is_stuck=True) == [account]
    return account


def test_who_took_the_whole_reserve_for_a_part_without_an_end_may_be_spilled_like_others() -> None:
    policy = Policy(MARKS)
    endless = owning(policy, age=1, is_endless=True)
    for _ in range(3):
        policy.took(endless, 1)
        assert policy.owner is endless
        assert policy.victim() is None
    policy.took(endless, 1)
    assert policy.owner is None
    assert policy.victim() is endless
    assert policy.spare(endless, free=4) == 0  # what comes back is reserved for the next one
    owning(policy, age=2)


def test_the_part_that_the_reserve_is_for_stays_in_memory() -> None:
    policy = Policy(MARKS)
    upload = owning(policy, age=1)
    for _ in range(4):
        policy.took(upload, 1)
    assert policy.owner is upload
    assert policy.victim() is None
