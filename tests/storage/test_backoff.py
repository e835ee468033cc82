"""Pauses, attempts and deadlines."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import (
    StorageFault,
    StoreMismatch,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
)
from fastproxy.storage.backoff import RetryPolicy, persist


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_no_pause_exceeds_the_cap_and_the_attempts_are_counted(attempts: int, rand: float) -> None:
    policy = RetryPolicy(attempts=attempts, base_s=0.1, cap_s=3, rand=lambda: rand)
    pauses = list(policy.pauses())
    assert len(pauses) == attempts - 1
    assert all(0 <= pause <= 3 for pause in pauses)


def test_pauses_double_under_full_jitter() -> None:
    policy = RetryPolicy(attempts=6, base_s=1, cap_s=6, rand=lambda: 0.5)
    assert list(policy.pauses()) == [0.5, 1, 2, 3, 3]


class Failing:
    """Raises `faults` in turn, then gives 7."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return 7


FAST = RetryPolicy(attempts=3, base_s=0)


def test_a_busy_store_is_asked_again() -> None:
    attempt = Failing(StoreUnavailable("a"), StoreUnavailable("b"))
    assert asyncio.run(persist(attempt, FAST)) == 7
    assert attempt.calls == 3


def test_the_last_fault_is_the_one_that_counts() -> None:
    attempt = Failing(*(StoreUnavailable(str(i)) for i in range(9)))
    with pytest.raises(StoreUnavailable, match="2"):
        asyncio.run(persist(attempt, FAST))
    assert attempt.calls == 3


@pytest.mark.parametrize("fault", [StoreRefused, StoreMismatch, StorageFault, ValueError])
def test_what_no_retry_mends_is_raised_at_once(fault: type[Exception]) -> None:
    attempt = Failing(fault("no"))
    with pytest.raises(fault):
        asyncio.run(persist(attempt, FAST))
    assert attempt.calls == 1


def test_the_deadline_ends_a_running_attempt() -> None:
    ended = []

    async def attempt() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(StoreTimeout):
        asyncio.run(persist(attempt, RetryPolicy(deadline_s=0.01)))
    assert ended == [True]


def test_a_timeout_error_of_the_attempt_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(persist(Failing(TimeoutError()), FAST))


def test_cancellation_comes_through() -> None:
    async def main() -> None:
        task = asyncio.create_task(persist(asyncio.Event().wait, FAST))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
