"""When what is due of an open channel. Durations in seconds, times on one clock."""

import random
from typing import Final

from fastproxy.config.schema import ChannelRoute

_NEVER: Final = float("inf")
_JITTER: Final = 0.1  # channels that opened together need not ask together


class Times:
    """`ends_at`: its session; `active_at`: its latest message."""

    __slots__ = (
        "_ask_every",
        "_idle_s",
        "_ping_every",
        "active_at",
        "ask_at",
        "ends_at",
        "ping_at",
    )

    def __init__(self, route: ChannelRoute, longest_s: float | None, now: float) -> None:
        """`longest_s`: the permission's limit of the session."""
        limits = [limit for limit in (route.max_session, longest_s) if limit]
        self._ask_every = route.reauthorize or _NEVER
        self._ping_every = route.ping or _NEVER
        self._idle_s = route.idle_timeout or _NEVER
        self.ends_at = now + min(limits, default=_NEVER)
        self.active_at = now
        self.ask_at = self.ping_at = _NEVER
        self.ask_later(now)
        self.ping_later(now)

    @property
    def idle_at(self) -> float:
        """When it will have been silent for too long."""
        return self.active_at + self._idle_s

    @property
    def next(self) -> float:
        """When anything is due."""
        return min(self.ends_at, self.ask_at, self.ping_at, self.idle_at)

    def ask_later(self, now: float) -> None:
        """The permission holds for now."""
        self.ask_at = now + self._ask_every * (1 - _JITTER * random.random())  # noqa: S311

    def ping_later(self, now: float) -> None:
        """A ping is sent, or need not be."""
        self.ping_at = now + self._ping_every * (1 - _JITTER * random.random())  # noqa: S311
