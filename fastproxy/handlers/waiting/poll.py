"""Hold a request until what it asks about has changed, or its time is up. No task.

READING --body is here--> ASKING --the value is as the client knows it--> WAITING
ASKING --it is another already--> GOING
WAITING --it changes--> WAKING --its turn among all who wake--> GOING
any --time is up, or nobody can say what changes--> GOING
GOING --its turn among all that is to be done--> (answered, or to the backend)
"""

import random
from enum import Enum
from functools import partial
from typing import Final

from fastproxy.config.schema import Poll
from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.origin import origin_head
from fastproxy.handlers.proxy.held import HeldPass
from fastproxy.handlers.proxy.proxy_pass import Outgoing, Target, client_request
from fastproxy.handlers.waiting.queue import RequestQueue, begin_guarded
from fastproxy.loop.batches import CallBatches
from fastproxy.loop.deadlines import Deadlines, Timed
from fastproxy.message import NO_FIELDS, Headers
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.polls.interest import MAX_BYTES, make_reader
from fastproxy.polls.likeness import Likeness, unfold
from fastproxy.polls.pacer import Pacer
from fastproxy.polls.watch import Watch
from fastproxy.wire.head import END_OF_HEAD


class Step(Enum):
    """How far it is."""

    READING = "reading"
    ASKING = "asking"
    WAITING = "waiting"
    WAKING = "waking"
    GOING = "going"
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


_READING, _ASKING, _WAITING, _WAKING, _GOING, _OVER = Step
_CRLF: Final = b"\r\n"


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
        batches: CallBatches,
        metrics: WorkerMetrics,
    ) -> None:
        self.settings = settings
        self.target = target
        self.watch = watch
        self.queue = queue
        self.deadlines = deadlines
        self.batches = batches
        self.pacer = Pacer(settings.wake_rate, deadlines)
        self.waiting: dict[HeldPoll, None] = {}
        self.likeness = Likeness()
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
        """All who wait are answered, and who comes is, too: another worker will hold them."""
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

    __slots__ = (
        "_end",
        "_exchange",
        "_held",
        "_is_held",
        "_key",
        "_last",
        "_model",
        "_route",
        "_step",
    )

    def __init__(self, route: PollRoute, exchange: Exchange) -> None:
        super().__init__()
        self._route = route
        self._exchange = exchange
        self._step = _READING
        self._end = End.UNHELD
        self._is_held = False  # counted as one who waits
        self._held = b""  # the body; once it waits, all that goes to the backend, as folded
        self._model: bytes | None = None
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
        self._fold()
        self.deadline = route.until()
        route.deadlines.watch(self)
        if not route.watch.wait(key, self):
            self._go(End.UNWATCHED)

    def _fold(self) -> None:
        """Hold the fields more tightly than the head does."""
        route, head = self._route, self._exchange.head
        lines = client_request(self._exchange, hints=route.target.hints).lines
        self._held, self._model = route.likeness.fold(lines + _CRLF + self._held)
        head.claims = NO_FIELDS
        head.headers = NO_FIELDS if route.queue is None else route.queue.key_fields(head.headers)

    def _unfold(self) -> tuple[Outgoing, bytes]:
        """The request and its body."""
        exchange, head = self._exchange, self._exchange.head
        if not self._key:
            return client_request(exchange, hints=self._route.target.hints), self._held
        lines, _, body = unfold(self._held, self._model).partition(END_OF_HEAD)
        outgoing = Outgoing(head.method, head.target, lines + _CRLF)
        outgoing.length = head.content_length
        outgoing.has_body = head.has_body or head.content_length == 0
        return outgoing, body

    # -- Waiter and Waking ---------------------------------------------------------------------

    def told(self, value: bytes) -> None:
        """See Waiter."""
        if self._step is _ASKING:
            if value == self._last:
                self._step = _WAITING
                self._last = value  # one copy for all who wait
                self._is_held = True
                self._route.held()
            else:
                self._go(End.STALE)
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
        self._route.pacer.add(self)

    def go(self) -> bool:
        """See Waking."""
        if self._step is not _WAKING:
            return False
        self._go(self._end)
        return True

    def _go(self, end: End) -> None:
        """Go on, but not all at once: each may take a connection to the backend."""
        self._end = end
        self._step = _GOING
        self._route.watch.leave(self._key, self)
        self._route.batches.add(self._go_now)

    def _go_now(self) -> None:
        if self._step is _GOING:  # else it has left
            self._finish(self._end)

    # -- ending --------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._step is _OVER

    def on_deadline(self, now: float) -> None:
        """See Timed. Who has not even been told by now goes unheld."""
        if self._step is not _GOING:
            waited = {_WAKING: self._end, _WAITING: End.TIMEOUT}
            self._go(waited.get(self._step, End.UNWATCHED))

    def drain(self) -> None:
        """Answer: this worker ends."""
        self._exchange.is_draining = True
        self._go(End.DRAINED)

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
        route = self._route
        self._step = _OVER
        route.deadlines.forget(self)
        route.watch.leave(self._key, self)
        route.went(self, end, was_held=self._is_held)

    def _forward(self) -> None:
        route, exchange = self._route, self._exchange
        held = HeldPass(exchange, route.target, *self._unfold())
        if route.queue is None:
            held.start()
        else:
            exchange.sink = None
            begin_guarded(exchange, partial(route.queue.enter, exchange, held.start))

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        self._held += b"".join(pieces)

    def body_end(self) -> None:
        """See Sink."""
        route, exchange = self._route, self._exchange
        interest = route.interest(exchange, self._held)
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
