"""What the channels of one route share: whom they ask, where they lead, how they are counted."""

import ssl
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from fastproxy.asking import Asker
from fastproxy.channels.permission import MAX_ANSWER_BYTES, Place, permission_reader
from fastproxy.claims import Signer
from fastproxy.config.schema import ChannelRoute
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.upstream.origin import parse_origin, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits

_BEFORE_THE_END_S: Final = 1.0  # of a drain


class End(Enum):
    """How a channel ended; those with a code (RFC 6455 section 7.4) are of our making."""

    REFUSED = ("refused", 0, "")
    FAILED = ("failed", 0, "")
    CLIENT = ("client", 0, "")
    BACKEND = ("backend", 0, "")
    REVOKED = ("revoked", 1008, "not permitted any more")
    UNCONFIRMED = ("unconfirmed", 1013, "the permission could not be confirmed")
    SESSION = ("session", 1000, "the session's time is over")
    IDLE = ("idle", 1000, "idle for too long")
    GARBLED = ("garbled", 1007, "a message could not be translated")
    DRAINED = ("drained", 1012, "this server is being replaced")

    def __init__(self, label: str, code: int, reason: str) -> None:
        self.label = label
        self.code = code
        self.reason = reason


class OpenChannel(Protocol):
    """One that is open."""

    def end_by(self, until: float) -> None:
        """The worker ends: be over by then, in loop time."""
        ...


@dataclass
class ChannelKit:
    """What all channels of one route share."""

    route: ChannelRoute
    target: Target
    signer: Signer
    connect_timeout_s: float
    tasks: Tasks
    metrics: WorkerMetrics
    open: set["OpenChannel"] = field(default_factory=set)

    def __post_init__(self) -> None:
        route, target = self.route, self.target
        self.reactor = target.pool.reactor
        self.deadlines = self.reactor.deadlines
        self.asker = Asker(
            target.pool,
            self.signer,
            route.authorize_suffix,
            target.header_timeout_s,
            permission_reader(self.signer.dialect, route.allowed_hosts),
            MAX_ANSWER_BYTES,
        )
        self.ends_at: float | None = None  # of all channels, from a drain on
        self._gauge = self.metrics.cell("fastproxy_channels_open")
        self._ended = self.metrics.family("fastproxy_channels_total")

    def drain(self, within_s: float) -> None:
        """Those that are open end before `within_s` seconds are over, and say why."""
        self.ends_at = until = self.deadlines.now + max(0.0, within_s - _BEFORE_THE_END_S)
        for channel in list(self.open):
            channel.end_by(until)

    def target_of(self, place: Place) -> Target:
        """A pool for one connection. Raises what reading the system's authorities raises."""
        origin, target = parse_origin(place.address), self.target
        tls: ssl.SSLContext | None = None
        if place.ca_pem:
            tls = ssl.create_default_context(cadata=place.ca_pem)
        elif origin.is_tls:
            tls = tls_context(self.route.ca_file)
        limits = PoolLimits(connect_timeout_s=self.connect_timeout_s, max_idle=0)
        pool = Pool(origin, limits, self.reactor, tls)
        return Target(
            str(origin), pool, target.header_timeout_s, target.body_timeout_s, target.dialect
        )

    def opened(self, channel: "OpenChannel") -> None:
        """One more is open."""
        self.open.add(channel)
        self._gauge.add(1)

    def ended(self, channel: "OpenChannel", end: End) -> None:
        """It has ended, or was never open."""
        if channel in self.open:
            self.open.discard(channel)
            self._gauge.add(-1)
        self._ended[end.label].add()
