"""Hold a request until what it asks about has changed, or its time is up. No task.

READING --body is here--> ASKING --the value is as the client knows it--> WAITING
ASKING --it is another already--> (to the backend)
WAITING --it changes--> WAKING --its turn among all who wake--> (answered, or to the backend)
WAITING or WAKING --time is up--> (answered, or to the backend)
any --nobody can say what changes--> (to the backend)
"""

import random
from enum import Enum
from functools import partial

from fastproxy.config.schema import Poll
from fastproxy.deadlines import Deadlines, Timed
from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.held import HeldPass
from fastproxy.handlers.origin import origin_head
from fastproxy.handlers.proxy_pass import Outgoing, Target, client_request
from fastproxy.handlers.queue import RequestQueue, begin_guarded
from fastproxy.message import Headers
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.polls.herd import Herd
from fastproxy.polls.interest import MAX_BYTES, make_reader
from fastproxy.polls.watch import Watch


class Step(Enum):
    """How far it is."""

    READING = "reading"
    ASKING = "asking"
    WAITING = "waiting"
    WAKING = "waking"
    OVER = "over"


class End(Enum):
    """How a poll ended; `unheld`: it was none, or more than may wait."""

    UNHELD = "unheld"
    STALE = "stale"  # its client did not know the value of the moment
    CHANGED = "changed"
    TIMEOUT = "timeout"
    UNWATCHED = "unwatched"
    LEFT = "left"
    DRAINED = "drained"


_READING, _ASKING, _WAITING, _WAKING, _OVER = Step


class PollRoute:
    """The handler of a route with long polls: what all its polls share.

    `queue`: in which those stand that go to the backend. Raises ValueError for bad settings.
    """

    def __init__(
        self,
        settings: Poll,
        target: Target,
        watch: Watch,
        queue: RequestQueue | None,
        deadlines: Deadlines,
        metrics: WorkerMetrics,
    ) -> None:
        self.settings = settings
        self.target = target
        self.watch = watch
        self.queue = queue
        self.deadlines = deadlines
        self.herd = Herd(settings.wake_rate, deadlines)
        self.waiting: dict[HeldPoll, None] = {}
        self.needs_fields = queue is not None and queue.settings.key != "address"
        self.fields = _fields(settings)
        self._read_key = make_reader(settings.key)
        self._read_last = make_reader(settings.last)
        self._waiting_gauge = metrics.cell("fastproxy_polls_waiting")
        self._ended = metrics.family("fastproxy_polls_total")
        self._is_draining = False

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request. Raises BodyTooLarge."""
        exchange.fields = self.fields
        exchange.admit_body(self.settings.max_body)
        HeldPoll(self, exchange).start()

    def drain(self) -> None:
        """All who wait are answered now, and who comes is, too: another worker will hold them."""
        self._is_draining = True
        for poll in list(self.waiting):
            poll.drain()

    def interest(self, exchange: Exchange, body: bytes) -> tuple[bytes, bytes] | None:
        """Key and value; None: the request names none, or too long a one."""
        head = exchange.head
        key = self._read_key(head, body).encode("utf-8", "surrogatepass")
        last = self._read_last(head, body).encode("utf-8", "surrogatepass")
        if not 0 < len(key) <= MAX_BYTES or not 0 < len(last) <= MAX_BYTES:
            return None
        return self.settings.key_prefix.encode() + key, last

    def may_hold(self) -> bool:
        """Whether one more may wait."""
        return len(self.waiting) < self.settings.max_waiting

    def is_draining(self, exchange: Exchange) -> bool:
        """Whether nothing is to be held any more."""
        return self._is_draining or exchange.is_draining

    def until(self) -> float:
        """When the time of one who begins to wait now is up.

        Not for all alike: after a restart they have all come at once.
        """
        settings = self.settings
        return self.deadlines.now + settings.wait * (1 - settings.jitter * random.random())  # noqa: S311

    def held(self) -> None:
        """One more waits for a change."""
        self._waiting_gauge.add(1)

    def went(self, poll: "HeldPoll", end: End, *, was_held: bool) -> None:
        """It is here no more."""
        self.waiting.pop(poll, None)
        if was_held:
            self._waiting_gauge.add(-1)
        self._ended[end.value].add()


class HeldPoll(Timed):
    """One poll: Sink, Waiter and Waking."""

    __slots__ = ("_body", "_end", "_exchange", "_key", "_last", "_outgoing", "_route", "_step")

    def __init__(self, route: PollRoute, exchange: Exchange) -> None:
        super().__init__()
        self._route = route
        self._exchange = exchange
        self._step = _READING
        self._end = End.UNHELD
        self._body = b""
        self._outgoing: Outgoing | None = None  # holds the fields more tightly than the head does
        self._key = self._last = b""
        exchange.sink = self

    def start(self) -> None:
        """Read the body, then see."""
        exchange = self._exchange
        if exchange.head.has_body:
            exchange.send_continue()
            exchange.want_body()
        else:
            self.body_end()

    def _ask(self, key: bytes, last: bytes) -> None:
        route, exchange = self._route, self._exchange
        self._step = _ASKING
        self._key, self._last = key, last
        exchange.is_parked = True
        route.waiting[self] = None
        if not route.needs_fields:
            self._outgoing = client_request(exchange, hints=route.target.hints)
            exchange.head.headers = []
        self.deadline = route.until()
        route.deadlines.watch(self)
        if not route.watch.wait(key, self):
            self._finish(End.UNWATCHED)

    # -- Waiter and Waking ---------------------------------------------------------------------

    def told(self, value: bytes) -> None:
        """See Waiter."""
        if self._step is _ASKING:
            if value == self._last:
                self._step = _WAITING
                self._last = value  # one copy for all who wait
                self._route.held()
            else:
                self._finish(End.STALE)
        elif self._step is _WAITING and value != self._last:
            # Without a value there is nothing to say of it: the backend may know more.
            self._wake(End.CHANGED if value else End.UNWATCHED)

    def unwatched(self) -> None:
        """See Waiter."""
        if self._step in (_ASKING, _WAITING):
            self._wake(End.UNWATCHED)

    def _wake(self, end: End) -> None:
        self._end = end
        self._step = _WAKING
        self._route.watch.leave(self._key, self)
        self._route.herd.add(self)

    def go(self) -> bool:
        """See Waking."""
        if self._step is not _WAKING:
            return False
        self._finish(self._end)
        return True

    # -- ending --------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._step is _OVER

    def on_deadline(self, now: float) -> None:
        """See Timed. Who has not even been told by now goes unheld."""
        waited = {_WAKING: self._end, _WAITING: End.TIMEOUT}
        self._finish(waited.get(self._step, End.UNWATCHED))

    def drain(self) -> None:
        """Answer now: this worker ends."""
        self._exchange.is_draining = True
        self._finish(End.DRAINED)

    def _finish(self, end: End) -> None:
        route, exchange = self._route, self._exchange
        self._leave(end)
        exchange.is_parked = False
        settings = route.settings
        if (
            end is End.DRAINED
            or (end is End.CHANGED and settings.on_change == "204")
            or (end is End.TIMEOUT and settings.on_timeout == "204")
        ):
            exchange.sink = None
            exchange.respond(origin_head(204, []))
            exchange.end()
        else:
            self._forward()

    def _leave(self, end: End) -> None:
        route, was_held = self._route, self._step in (_WAITING, _WAKING)
        self._step = _OVER
        route.deadlines.forget(self)
        route.watch.leave(self._key, self)
        route.went(self, end, was_held=was_held)

    def _forward(self) -> None:
        route, exchange = self._route, self._exchange
        outgoing = self._outgoing or client_request(exchange, hints=route.target.hints)
        held = HeldPass(exchange, route.target, outgoing, self._body)
        if route.queue is None:
            held.start()
        else:
            exchange.sink = None
            begin_guarded(exchange, partial(route.queue.enter, exchange, held.start))

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        self._body += b"".join(pieces)

    def body_end(self) -> None:
        """See Sink."""
        route, exchange = self._route, self._exchange
        interest = route.interest(exchange, self._body)
        if interest is None or not route.may_hold():
            self._finish(End.UNHELD)
        elif route.is_draining(exchange):
            self.drain()
        else:
            self._ask(*interest)

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._leave(End.LEFT)

    def client_blocked(self) -> None:
        """See Sink."""

    def client_writable(self) -> None:
        """See Sink."""


def _fields(settings: Poll) -> Headers | None:
    headers = settings.headers.items()
    fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    origin_head(204, fields)
    return fields or None
