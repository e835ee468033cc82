"""Wait for a condition with a deadline; never sleep for luck."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(get: Callable[[], T], what: str, *, within: float = 20.0) -> T:
    """The first true result of `get`; an OSError counts as not yet."""
    deadline = time.monotonic() + within
    while True:
        try:
            result = get()
        except OSError:
            result = None
        if result:
            return result
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def settled(get: Callable[[], T], *, still_for: float = 0.5) -> T:
    """The value of `get` once it has not changed for a while: when nothing more happens."""
    value, since = get(), time.monotonic()
    while time.monotonic() - since < still_for:
        time.sleep(0.01)
        if (now := get()) != value:
            value, since = now, time.monotonic()
    return value


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """`eventually` for code on an event loop."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)
