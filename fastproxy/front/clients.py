"""How much of a worker one client may have: connections at once, and requests a second.

A client is a customer's address (see wire/addresses.py). Who comes
through a trusted proxy is known by X-Forwarded-For, and has its requests counted instead of its
connections, which are the proxy's. The proxies themselves are not limited.
"""

import time
from collections.abc import Callable
from typing import Final

from fastproxy.config.schema import Limits
from fastproxy.errors import RateLimited, TooManyOfClient
from fastproxy.exchange import Exchange
from fastproxy.wire.addresses import customer

# Of clients that have nothing open; some 3 MiB.
MOST_KNOWN: Final = 16 * 1024
# Refusing costs a connection for as long as it lingers; who has so many more gets no answer.
_CUT_ABOVE: Final = 2


_ROUNDING_S: Final = 1e-6


class Client:
    """One address. `open`: its connections, or its requests through trusted proxies.

    `due`: when it will have been silent long enough for all it asked, in monotonic seconds.
    """

    __slots__ = ("due", "open")

    def __init__(self) -> None:
        self.open = 0
        self.due = 0.0


class Clients:
    """All clients of a worker that have something open, or have asked lately.

    `cut`: connections that were closed without an answer.
    """

    def __init__(self, limits: Limits) -> None:
        self._most_open = limits.connections_per_client
        rate = limits.requests_per_client
        self._interval_s = 1 / rate if rate else 0.0
        self._ahead_s = limits.request_burst * self._interval_s + _ROUNDING_S
        self._known: dict[str, Client] = {}
        self._room = MOST_KNOWN
        self.cut = 0

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    def of(self, address: str) -> Client:
        """The client at an address."""
        key = customer(address)
        client = self._known.get(key)
        if client is None:
            if len(self._known) >= self._room:
                self._forget(time.monotonic())
            client = self._known[key] = Client()
        return client

    def enter(self, client: Client) -> bool:
        """Count one more that is open, until somebody lowers `open`; False: it is one too many."""
        client.open += 1
        return client.open <= self._most_open or not self._most_open

    def has_far_too_many(self, client: Client) -> bool:
        """Whether what entered last is to be cut without an answer; then that is counted."""
        if client.open <= self._most_open * _CUT_ABOVE or not self._most_open:
            return False
        self.cut += 1
        return True

    def ask(self, client: Client, now: float) -> bool:
        """Count a request at `now`, in monotonic seconds; False: it comes too early."""
        due = max(client.due, now) + self._interval_s
        if due - now > self._ahead_s:
            return False
        client.due = due
        return True

    def wait_s(self, client: Client, now: float) -> float:
        """Seconds from `now` until its next request is in time."""
        return max(client.due + self._interval_s - self._ahead_s - now, 0.0)

    def _forget(self, now: float) -> None:
        """Drop who is at rest. Of the others who have nothing open, half of the room is kept.

        Those dropped, the oldest, may ask anew: a flood from so many addresses at once is not
        stopped by limits of one.
        """
        self._known = {key: c for key, c in self._known.items() if c.open or c.due > now}
        idle = [key for key, client in self._known.items() if not client.open]
        for key in idle[: -MOST_KNOWN // 2]:
            del self._known[key]
        self._room = len(self._known) + MOST_KNOWN // 2


def clients_of(limits: Limits) -> Clients | None:
    """None: nothing is limited."""
    if limits.connections_per_client or limits.requests_per_client:
        return Clients(limits)
    return None


class Gate:
    """Passes requests on to `serve` within the limits of their client, and refuses the others."""

    def __init__(self, clients: Clients, serve: Callable[[Exchange], None]) -> None:
        self._clients = clients
        self._serve = serve

    def serve(self, exchange: Exchange) -> None:
        """Never raises."""
        fault = self._judge(exchange)
        if fault is None:
            self._serve(exchange)
        else:
            exchange.fail(fault)

    def _judge(self, exchange: Exchange) -> RateLimited | TooManyOfClient | None:
        clients, address, now = self._clients, exchange.remote_ip, exchange.started_at
        if exchange.is_peer_trusted and address == exchange.peer_ip:
            return None
        client = clients.of(address)
        if exchange.is_peer_trusted:
            exchange.asker = client
            if not clients.enter(client):
                return TooManyOfClient(f"requests of {address}")
        if not clients.ask(client, now):
            return RateLimited(f"requests of {address}", clients.wait_s(client, now))
        return None
