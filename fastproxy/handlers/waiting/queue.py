"""So many requests of a route at once: the others wait for their turn, without a task.

The body of who waits is not read: it stays with the client.
"""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from fastproxy.config.schema import Queue
from fastproxy.errors import Bug, FastproxyError, TooManyWaiting, WaitedTooLong
from fastproxy.exchange import Exchange
from fastproxy.handlers.waiting.fair_line import FairLine
from fastproxy.loop.deadlines import Timed
from fastproxy.loop.reactor import Reactor
from fastproxy.message import NO_FIELDS, Headers
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.wire.addresses import customer

log = logging.getLogger("fastproxy")

Serve = Callable[[Exchange], None]
Begin = Callable[[], None]  # may raise FastproxyError

_HEADER: Final = "header:"


class RequestQueue:
    """The queue of one route. `name`: for the metrics, see catalog.queue_names."""

    def __init__(
        self, settings: Queue, name: str, reactor: Reactor, metrics: WorkerMetrics
    ) -> None:
        self.settings = settings
        self._reactor = reactor
        self._line: FairLine[Ticket] = FairLine()
        self._running = 0
        self._is_filling = False
        self._key_of = _key_reader(settings.key)
        self._running_gauge = metrics.cell("fastproxy_queue_running", name)
        self._waiting_gauge = metrics.cell("fastproxy_queue_waiting", name)
        self._wait_seconds = metrics.histogram("fastproxy_queue_wait_seconds", name)
        self._full = metrics.cell("fastproxy_queue_lost_total", name, "full")
        self._late = metrics.cell("fastproxy_queue_lost_total", name, "late")
        self._left = metrics.cell("fastproxy_queue_lost_total", name, "left")

    def wrap(self, serve: Serve) -> Serve:
        """`serve` in turn."""
        return lambda exchange: self.enter(exchange, partial(serve, exchange))

    def enter(self, exchange: Exchange, begin: Begin) -> None:
        """Call `begin` now, or when it is the turn of `exchange`.

        Raises TooManyWaiting, and what `begin` raises when it is called now.
        """
        if self._running < self.settings.at_once and not self._line:
            self._wait_seconds.observe(0.0)
            self._take_place(exchange)
            begin()
            return
        key = self._key_of(exchange)
        if self._is_full(key):
            self._full.add()
            fault = TooManyWaiting(f"{len(self._line)} wait, {self._line.waiting(key)} of {key}")
            raise self._judged(fault, self.settings.full_status)
        ticket = Ticket(self, exchange, key, begin)
        exchange.sink = ticket
        exchange.is_parked = True
        self._line.add(key, ticket)
        self._waiting_gauge.set(len(self._line))
        ticket.deadline = self._reactor.deadlines.now + self.settings.wait
        self._reactor.deadlines.watch(ticket)

    def key_fields(self, fields: Headers) -> Headers:
        """Of `fields` those from which a request's key is read."""
        name = _key_field(self.settings.key)
        return [each for each in fields if each[0].lower() == name] if name else NO_FIELDS

    def _is_full(self, key: str) -> bool:
        settings = self.settings
        return len(self._line) >= settings.length or (
            0 < settings.length_per_key <= self._line.waiting(key)
        )

    def _judged(self, fault: FastproxyError, status: int) -> FastproxyError:
        fault.status = status
        fault.retry_after_s = math.ceil(self.settings.retry_after)
        return fault

    # -- turns ---------------------------------------------------------------------------------

    def _take_place(self, exchange: Exchange) -> None:
        self._running += 1
        self._running_gauge.set(self._running)
        exchange.on_over = self._give_place

    def _give_place(self) -> None:
        self._running -= 1
        self._running_gauge.set(self._running)
        if self._line and not self._is_filling:
            # Not now: the loop may be in the midst of the request whose end this is.
            self._is_filling = True
            self._reactor.loop.call_soon(self._fill)

    def _fill(self) -> None:
        self._is_filling = False
        while self._line and self._running < self.settings.at_once:
            ticket = self._line.pop()
            self._waiting_gauge.set(len(self._line))
            self._reactor.deadlines.forget(ticket)
            self._wait_seconds.observe(time.monotonic() - ticket.since)
            self._take_place(ticket.exchange)
            ticket.go()

    def leave(self, ticket: "Ticket") -> None:
        """It waits no more: its client has left."""
        self._left.add()
        self._remove(ticket)

    def give_up(self, ticket: "Ticket") -> None:
        """It has waited too long."""
        self._late.add()
        self._remove(ticket)
        fault = WaitedTooLong(f"{self.settings.wait:g} s, {len(self._line)} still wait")
        ticket.exchange.fail(self._judged(fault, self.settings.late_status))

    def _remove(self, ticket: "Ticket") -> None:
        ticket.end()
        self._line.remove(ticket.key, ticket)
        self._waiting_gauge.set(len(self._line))
        self._reactor.deadlines.forget(ticket)


class Ticket(Timed):
    """One request that waits. The Sink: it takes nothing."""

    __slots__ = ("_begin", "_is_over", "_queue", "exchange", "key", "since")

    def __init__(self, queue: RequestQueue, exchange: Exchange, key: str, begin: Begin) -> None:
        super().__init__()
        self._queue = queue
        self._begin = begin
        self.exchange = exchange
        self.key = key
        self.since = time.monotonic()
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._is_over

    def end(self) -> None:
        """It waits no more."""
        self._is_over = True

    def go(self) -> None:
        """It is its turn. Never raises."""
        self.end()
        self.exchange.sink = None
        self.exchange.is_parked = False
        begin_guarded(self.exchange, self._begin)

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        self._queue.give_up(self)

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._queue.leave(self)

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink: none is wanted, so none comes."""

    def body_end(self) -> None:
        """See Sink."""

    def client_blocked(self) -> None:
        """See Sink."""

    def client_writable(self) -> None:
        """See Sink."""


def begin_guarded(exchange: Exchange, begin: Begin) -> None:
    """As the router begins a request: what `begin` raises ends the exchange. Never raises."""
    try:
        begin()
    except FastproxyError as fault:
        exchange.fail(fault)
    except Exception:
        log.exception("bug in a handler", extra={"request_id": exchange.request_id})
        exchange.fail(Bug())


def _key_reader(key: str) -> Callable[[Exchange], str]:
    name = _key_field(key)
    if not name:
        return lambda exchange: customer(exchange.remote_ip)
    return lambda exchange: (exchange.head.header(name) or b"").decode("latin-1")


def _key_field(key: str) -> bytes:
    """The field's name, in lower case; b"": the client's address is the key."""
    return key.removeprefix(_HEADER).lower().encode("latin-1") if key.startswith(_HEADER) else b""
