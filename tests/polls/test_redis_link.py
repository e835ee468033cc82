"""What the link to Redis does beside its questions."""

import asyncio
from typing import Any

import pytest

from fastproxy.config.schema import Redis
from fastproxy.observe.metrics import Board
from fastproxy.polls import redis_link
from fastproxy.polls.redis_link import RedisLink
from fastproxy.polls.watch import Watch
from tests.support.waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Visitor:
    """Comes, is told, and goes."""

    def told(self, value: bytes) -> None:
        """Of no interest."""

    def unwatched(self) -> None:
        """Of no interest."""


class Wire:
    """A connection whose Redis has a value for each key."""

    async def send_command(self, *words: Any) -> None:
        self.keys = words[1:]

    async def read_response(self) -> list[bytes]:
        return [b"value"] * len(self.keys)


def test_keys_are_forgotten_also_while_there_is_always_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_link, "_SWEEP_S", 0.02)

    async def main() -> None:
        clock = Clock()
        watch = Watch(clock, each_has_channel=False)
        link = RedisLink(Redis(url="redis://127.0.0.1:1"), watch, Board((), 1, "").worker(0))
        watch.connected()
        wire: Any = Wire()
        work = asyncio.create_task(link._work(wire, wire))
        asked: list[tuple[bytes, Visitor]] = []

        def is_forgotten() -> bool:
            """Whether keys are, although a new one comes each time that this is asked."""
            if asked:
                watch.leave(*asked[-1])
            asked.append((b"key %d" % len(asked), Visitor()))
            watch.wait(*asked[-1])
            clock.now += 0.1
            return len(asked) > 200 and len(watch) < len(asked) - 100

        try:
            await until(is_forgotten)
        finally:
            work.cancel()
            await asyncio.wait((work,))
            await link.stop()

    asyncio.run(main())
