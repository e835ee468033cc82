"""How often and how long a store is asked again. No I/O but sleeping; randomness is handed in."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from msgspec import Struct

from fastproxy.errors import Retry, StorageFault, StoreTimeout

T = TypeVar("T")


class RetryPolicy(Struct, frozen=True):
    """Exponential backoff with full jitter, so that many uploads do not come back in step.

    Durations in seconds. `attempts`: the first one included. `timeout_s`: one attempt without
    progress. `deadline_s`: all attempts and pauses together; what runs then is cancelled.
    """

    attempts: int = 5
    timeout_s: float = 60.0
    deadline_s: float = 4 * 3600.0
    base_s: float = 0.1
    cap_s: float = 10.0
    rand: Callable[[], float] = random.random  # in [0, 1)
    on_retry: Callable[[], None] = lambda: None  # told before every attempt but the first

    def pauses(self) -> Iterator[float]:
        """One pause before every attempt but the first."""
        for retry in range(self.attempts - 1):
            # 2**64 is far beyond every cap and far from a float's end
            yield self.rand() * min(self.cap_s, self.base_s * 2.0 ** min(retry, 64))


async def persist(attempt: Callable[[], Awaitable[T]], policy: RetryPolicy) -> T:
    """Await `attempt()` until it gives a result or a fault that no retry mends.

    Raises the last StorageFault, or StoreTimeout when the deadline has passed.
    """
    last: StorageFault | None = None
    try:
        async with asyncio.timeout(policy.deadline_s) as deadline:
            for pause in policy.pauses():
                try:
                    return await attempt()
                except StorageFault as fault:
                    if fault.retry is not Retry.SAFE:
                        raise
                    last = fault
                await asyncio.sleep(pause)
                policy.on_retry()
            return await attempt()
    except TimeoutError:
        if not deadline.expired():
            raise
        why = f"; last: {last.detail or last.kind}" if last else ""
        raise StoreTimeout(f"not done within {policy.deadline_s:g} s{why}") from last
