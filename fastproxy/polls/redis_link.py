"""The way to Redis: one connection that hears what changes, one that asks. A Watch gets the news.

Imported only when it is configured: redis-py takes longer to load than all of ours.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import ConnectionPool
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from fastproxy.config.schema import Redis
from fastproxy.config.secrets import read_credential
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.polls.watch import Watch

log = logging.getLogger("fastproxy.redis")

_AT_ONCE: Final = 1000  # keys of one command: its answer is parsed in one go
_SWEEP_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1  # Workhorse's
_FAILURES: Final = (RedisError, OSError, TimeoutError)


class Connection(Protocol):
    """One of redis-py's, as far as it is used. Without retries, so that no loss is hidden."""

    async def connect(self) -> None:
        """Also says who we are."""
        ...

    async def disconnect(self, nowait: bool = False) -> None:
        """Close it."""
        ...

    async def send_command(self, *words: str | bytes) -> None:
        """Write it."""
        ...

    async def read_response(
        self, *, timeout: float | None = None, disconnect_on_error: bool = True
    ) -> Any:
        """None after `timeout` seconds."""
        ...


class RedisLink:
    """See the module."""

    def __init__(self, settings: Redis, watch: Watch, metrics: WorkerMetrics) -> None:
        """Raises BadSecret, OSError for a password that cannot be read."""
        self._settings = settings
        self._watch = watch
        self._make_connection = _connector(settings)
        self._channel = settings.channel.encode()
        self._backoff = EqualJitterBackoff(settings.longest_pause, _FIRST_PAUSE_S)
        self._failures = 0
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
        news, asked = self._make_connection(), self._make_connection()
        try:
            await asked.connect()
            await news.connect()
            await news.send_command("SUBSCRIBE", self._channel)
            await news.read_response()
            self._up()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(news))
                group.create_task(self._work(news, asked))
        finally:
            await news.disconnect(nowait=True)
            await asked.disconnect(nowait=True)

    def _up(self) -> None:
        log.info("Redis: connected")
        self._failures = 0
        self._watch.connected()
        self._connected.set(1)

    def _down(self) -> None:
        if self._watch.is_up:
            self._losses.add()
            self._connected.set(0)
            self._watch.lost()

    # -- what changes --------------------------------------------------------------------------

    async def _listen(self, news: Connection) -> None:
        """Raises Disconnected when Redis is silent although it was asked to say something."""
        is_asked = False
        while True:
            message = await news.read_response(
                timeout=self._settings.heartbeat, disconnect_on_error=False
            )
            if message is not None:
                is_asked = False
                self._on_message(message)
            elif is_asked:
                raise Disconnected(f"silent for {2 * self._settings.heartbeat:g} s")
            else:
                is_asked = True
                await news.send_command("PING")

    def _on_message(self, message: Sequence[Any]) -> None:
        kind, channel, data = message[0], message[1], message[-1]
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
        while True:
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await self._has_work.wait()
            except TimeoutError:
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
                values: list[bytes | None] = await asked.read_response()
                for key, value in zip(keys, values, strict=True):
                    self._watch.answered(key, value or b"")

    def _channels(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        return (self._channel + b":" + key for key in keys)


def _portions(keys: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def _connector(settings: Redis) -> Callable[[], Connection]:
    """What makes connections that are not open yet. Raises BadSecret, OSError."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
    }
    if settings.password_file:
        options["password"] = read_credential(settings.password_file)
    if settings.ca_file:
        options["ssl_ca_certs"] = settings.ca_file
    if settings.url.startswith("rediss://"):
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
    return ConnectionPool.from_url(settings.url, **options).make_connection
