"""Where Redis is: at an address, or wherever its sentinels say that the master is now.

Imported only when it is configured, as redis_link.
"""

import ssl
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fastproxy.config.schema import Redis, Sentinels
from fastproxy.config.secrets import read_credential

_SENTINEL_PORT: Final = 26379


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


class Way(Protocol):
    """How to get there."""

    def make_connection(self) -> Connection:
        """One that is not open yet."""
        ...

    async def has_moved(self) -> bool:
        """Whether new connections would lead to another Redis than those that there are."""
        ...

    async def close(self) -> None:
        """Nobody asks for the way any more."""
        ...


def way_to(settings: Redis) -> Way:
    """As the settings say. Raises BadSecret, OSError for a password that cannot be read."""
    return _Direct(settings) if settings.sentinel is None else _Watched(settings, settings.sentinel)


class _Direct:
    def __init__(self, settings: Redis) -> None:
        options = _options(settings, settings, is_tls=settings.url.startswith("rediss:"))
        self._pool = ConnectionPool.from_url(settings.url, **options)

    def make_connection(self) -> Connection:
        connection: Connection = self._pool.make_connection()
        return connection

    async def has_moved(self) -> bool:
        return False

    async def close(self) -> None:
        """Nothing is open."""


class _Watched:
    """The url's host is the name by which the sentinels know the master."""

    def __init__(self, settings: Redis, sentinels: Sentinels) -> None:
        parts = urlsplit(settings.url)
        asked = _options(settings, sentinels, is_tls=sentinels.tls)
        if sentinels.tls:
            asked["ssl"] = True
        # The next one is asked, rather than the same again.
        asked["retry"] = Retry(NoBackoff(), 0)
        hosts = [urlsplit(f"//{address}") for address in sentinels.addresses]
        self._sentinel = Sentinel(
            [(host.hostname, host.port or _SENTINEL_PORT) for host in hosts], sentinel_kwargs=asked
        )
        is_tls = parts.scheme == "rediss"
        self._pool = SentinelConnectionPool(
            parts.netloc,
            self._sentinel,
            db=int(parts.path.strip("/") or 0),
            ssl=is_tls,
            **_options(settings, settings, is_tls=is_tls),
        )

    def make_connection(self) -> Connection:
        connection: Connection = self._pool.make_connection()
        return connection

    async def has_moved(self) -> bool:
        """A master that was cut off from the others goes on as if nothing had happened."""
        before = self._pool.master_address
        try:
            return bool(await self._pool.get_master_address() != before)
        except (RedisError, OSError, TimeoutError):
            return False  # who cannot be asked has named no other

    async def close(self) -> None:
        for each in self._sentinel.sentinels:
            await each.aclose()


def _options(settings: Redis, login: Redis | Sentinels, *, is_tls: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
    }
    if login.username:
        options["username"] = login.username
    if login.password_file:
        options["password"] = read_credential(login.password_file)
    if is_tls:
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
        if settings.ca_file:
            options["ssl_ca_certs"] = settings.ca_file
    return options
