"""The way to Redis: one connection that hears what changes, one that asks. A Watch gets the news.

Imported only when it is configured: redis-py takes longer to load than all of ours.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse, RedisError

from fastproxy.config.schema import Redis
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.polls.redis_way import Connection, way_to
from fastproxy.polls.watch import Watch

log = logging.getLogger("fastproxy.redis")

_AT_ONCE: Final = 100  # keys of one command: its answer is parsed in one go
_SWEEP_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1  # Workhorse's
_FAILURES: Final = (RedisError, OSError, TimeoutError)


class RedisLink:
    """See the module."""

    def __init__(self, settings: Redis, watch: Watch, metrics: WorkerMetrics) -> None:
        """Raises BadSecret, OSError for a password that cannot be read."""
        self._settings = settings
        self._watch = watch
        self._way = way_to(settings)
        self._channel = settings.channel.encode()
        self._backoff = EqualJitterBackoff(settings.longest_pause, _FIRST_PAUSE_S)
        self._failures = 0
        self._now = asyncio.get_running_loop().time
        self._heard_at = self._up_at = 0.0
        self._is_asked = False
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        watch.on_work = self._has_work.set
        self._connected = metrics.cell("fastproxy_redis_connected")
        self._losses = metrics.cell("fastproxy_redis_losses_total")
        self._messages = metrics.cell("fastproxy_redis_messages_total")
        self._keys = metrics.cell("fastproxy_polls_keys")

    def start(self) -> None:
        """Connect, and do so again whenever the connection is lost."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Let go. Who waits is told nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._way.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._session()
            except* _FAILURES as group:
                self._say_lost(group.exceptions[0])
            except* Exception:
                log.exception("bug in the link to Redis")
            finally:
                self._down()
            self._failures += 1
            await asyncio.sleep(self._backoff.compute(self._failures))

    def _say_lost(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self._watch.is_up or not self._failures:
            what = "lost" if self._watch.is_up else "cannot be reached"
            log.warning("Redis %s: %s; requests go to their backend unheld", what, error)

    async def _session(self) -> None:
        """From a connection to its loss, which it raises."""
        news, asked = self._way.make_connection(), self._way.make_connection()
        try:
            await asked.connect()
            await news.connect()
            await news.send_command("SUBSCRIBE", self._channel)
            _values(await news.read_response(), 3)
            self._up()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(news))
                group.create_task(self._watch_over(news))
                group.create_task(self._work(news, asked))
                group.create_task(self._follow())
        finally:
            await news.disconnect(nowait=True)
            await asked.disconnect(nowait=True)

    def _up(self) -> None:
        log.info("Redis: connected")
        self._is_asked = False
        self._heard_at = self._up_at = self._now()
        self._watch.connected()
        self._connected.set(1)

    def _down(self) -> None:
        if self._watch.is_up:
            if self._now() - self._up_at > self._settings.longest_pause:
                self._failures = 0  # it has worked; one that fails soon each time has not
            self._losses.add()
            self._connected.set(0)
            self._watch.lost()

    # -- what changes --------------------------------------------------------------------------

    async def _listen(self, news: Connection) -> None:
        """Without a timer for each message, of which thousands come at once; see `_watch_over`."""
        for count in itertools.count():
            self._on_message(await news.read_response(timeout=math.inf, disconnect_on_error=False))
            self._is_asked = False
            self._heard_at = self._now()
            if not count % _AT_ONCE:
                await asyncio.sleep(0)  # what is here already would be read in one go

    async def _watch_over(self, news: Connection) -> None:
        """Raises Disconnected when Redis is silent although it was asked to say something."""
        heartbeat: float = self._settings.heartbeat
        while True:
            await asyncio.sleep(max(0.0, self._heard_at + heartbeat - self._now()))
            if self._now() < self._heard_at + heartbeat:
                continue
            if self._is_asked:
                raise Disconnected(f"silent for {2 * heartbeat:g} s")
            self._is_asked = True
            self._heard_at = self._now()
            await news.send_command("PING")

    async def _follow(self) -> None:
        """Raises Disconnected when another Redis has become the master."""
        while True:
            await asyncio.sleep(self._settings.heartbeat)
            if await self._way.has_moved():
                raise Disconnected("another is the master now")

    def _on_message(self, message: Any) -> None:
        if isinstance(message, list) and len(message) == 2:
            return  # the answer to our PING
        kind, channel, data = _values(message, 3)
        own = self._channel + b":"
        if kind == b"message":
            self._messages.add()
            if channel == self._channel:
                key, is_pair, value = data.partition(b"=")
                if is_pair:
                    self._watch.announced(key, value)
            elif channel.startswith(own):
                self._watch.announced(channel.removeprefix(own), data)
        elif kind == b"subscribe" and channel.startswith(own):
            self._watch.subscribed(channel.removeprefix(own))

    # -- what is to be done --------------------------------------------------------------------

    async def _work(self, news: Connection, asked: Connection) -> None:
        """What many want meanwhile is done at once."""
        swept_at = self._now()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._has_work.wait()
            if self._now() >= swept_at + _SWEEP_S:
                swept_at = self._now()
                self._watch.sweep()
                self._keys.set(len(self._watch))
            self._has_work.clear()
            work = self._watch.take()
            for keys in _portions(work.unsubscribe):
                await news.send_command("UNSUBSCRIBE", *self._channels(keys))
            for keys in _portions(work.subscribe):
                await news.send_command("SUBSCRIBE", *self._channels(keys))
            for keys in _portions(work.ask):
                await asked.send_command("MGET", *keys)
                for key, value in zip(
                    keys, _values(await asked.read_response(), len(keys)), strict=True
                ):
                    self._watch.answered(key, value or b"")

    def _channels(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        return (self._channel + b":" + key for key in keys)


def _values(answer: Any, count: int) -> list[Any]:
    if not isinstance(answer, list) or len(answer) != count:
        raise InvalidResponse(f"it is no Redis: {answer!r:.100}")
    return answer


def _portions(keys: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
