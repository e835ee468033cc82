"""The life of a client connection: its state, its deadline, and the ways it ends."""

from enum import Enum
from typing import Final

from fastproxy.errors import ClientGone, FastproxyError, ShuttingDown, TooManyOfClient, TooSlow
from fastproxy.exchange import Exchange
from fastproxy.front.clients import Client
from fastproxy.front.context import FrontContext
from fastproxy.front.guest import Guest
from fastproxy.front.link import Link
from fastproxy.front.pace import Pace
from fastproxy.front.probe import PeerState
from fastproxy.front.uptake import Uptake
from fastproxy.loop.deadlines import NEVER
from fastproxy.loop.readiness import Reader
from fastproxy.shortcut import Trip

_PROBE_S: Final = 10.0


class Phase(Enum):
    """What the next byte from the client is."""

    HEAD = "head"
    BODY = "body"
    WAIT = "wait"  # the request is complete, its response is not
    LINGER = "linger"  # answered early: read and drop, so that the client sees the answer
    TUNNEL = "tunnel"
    CLOSING = "closing"  # only what was written has still to leave
    CLOSED = "closed"


HEAD, BODY, WAIT, LINGER, TUNNEL, CLOSING, CLOSED = Phase


class ConnectionLife(Reader):
    """See the module. Who inherits reads and writes; `_refuse` answers a head that never was."""

    __slots__ = (
        "_client",
        "_context",
        "_exchange",
        "_guest",
        "_link",
        "_pace",
        "_pending",
        "_phase",
        "_trip",
        "_uptake",
        "_wants_body",
    )
    _link: Link  # from connection_made on, before which nothing else is called

    def __init__(self, context: FrontContext, guest: Guest | None) -> None:
        """`guest`: None for a listener that asks nothing of its clients."""
        super().__init__()
        self._guest = guest
        self._context = context
        self._client: Client | None = None  # who it is; None when nothing is limited
        self._exchange: Exchange | None = None
        self._trip: Trip | None = None  # instead of an exchange
        self._pending = b""  # read, not yet understood: part of a head, early body, pipelined
        self._phase = HEAD
        self._wants_body = False
        self._pace = Pace(context.limits)
        self._uptake: Uptake | None = None  # from when something waited for the client

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._phase is CLOSED

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or served."""
        return self._phase is HEAD and not self._pending

    @property
    def exchange(self) -> Exchange | None:
        """The request being served, if it has one."""
        return self._exchange

    @property
    def is_serving(self) -> bool:
        """Whether a request is being served."""
        return self._exchange is not None or self._trip is not None

    def _refuse(self, fault: FastproxyError) -> None:
        raise NotImplementedError

    def _leave_trip(self) -> None:
        """Something that the express lane does not know is about to happen."""
        trip = self._trip  # held: nobody else may hold it when it is over
        if trip is not None:
            trip.leave()

    def _enter(self, address: str) -> bool:
        """Be counted for the client at `address`; False: it has too many, and this is answered."""
        clients = self._context.clients
        if clients is None:
            return True
        self._client = client = clients.of(address)
        if clients.enter(client):
            return True
        if clients.has_far_too_many(client):
            self.abort()
        else:
            self._refuse(TooManyOfClient(f"connections of {address}"))
        return False

    def outlet(self) -> int:
        """See ClientSide."""
        return self._link.outlet()

    def passed(self, size: int) -> None:
        """See ClientSide."""
        self._link.passed(size)

    # -- ending --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close soon if idle; else the response in flight says it is the last."""
        self._leave_trip()
        if self.is_idle:
            self._wait_as_phase_says()
        elif self._exchange is not None:
            self._exchange.is_draining = True

    def cut(self) -> None:
        """End the exchange in flight, if any, and close now."""
        self._leave_trip()
        self._fail_client(ShuttingDown("cut at the end of the drain"))
        self._leave()
        self._link.abort()

    def _half_closed(self) -> None:
        """It sends no more, and may read its answer still; but who waits for long has left."""
        if self._phase is not WAIT:
            self._close()
        elif self._is_parked:
            self._fail_client(ClientGone("left while it waited"))

    @property
    def _is_parked(self) -> bool:
        return self._exchange is not None and self._exchange.is_parked

    def _linger(self) -> None:
        """RFC 9112 section 9.6: closing with unread bytes would reset away our answer."""
        self._phase = LINGER
        self._pending = b""
        self._pace.begin()
        if self._link.has_eof:
            self._close()
            return
        self._link.send_eof()
        self._wait_as_phase_says()
        self._link.start_reading()

    def _on_lingering(self, nbytes: int) -> None:
        self._pace.size += nbytes
        if self._pace.size > self._context.limits.lingering_bytes:
            self._close()

    def _close(self) -> None:
        """Close once everything written has left."""
        self._pending = b""
        if self._link.unsent:
            self._phase = CLOSING
            self._wait_for_progress()
        else:
            self._leave()
        self._link.close()

    def _leave(self) -> None:
        if self._phase is not CLOSED:
            self._phase = CLOSED
            self._pending = b""
            self._context.discard(self)
            if self._client is not None:
                self._client.open -= 1
            self._context.deadlines.forget(self)

    def _fail_client(self, fault: FastproxyError) -> None:
        """Tell the handler that the client failed; it lets go and fails the exchange."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.fault is None:
            exchange.fault = fault
        if exchange.sink is not None:
            exchange.sink.client_failed(fault)
        exchange.fail(fault)

    def abort(self) -> None:
        """See ClientSide."""
        self._exchange = None
        self._leave()
        self._link.reset()

    # -- time ----------------------------------------------------------------------------------

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        self._leave_trip()
        phase = self._phase
        if self._link.is_blocked or phase in (TUNNEL, CLOSING):
            self._judge_progress()
        elif phase is LINGER:
            self._close()
        elif phase is HEAD and self._pending:
            self._refuse(TooSlow("head"))
        elif phase is HEAD:
            self._close()
        elif phase is BODY and self._wants_body:
            self._fail_client(TooSlow("nothing came"))
        elif phase is BODY or phase is WAIT:
            self._probe()

    def _wait_as_phase_says(self) -> None:
        """Set the deadline of the present phase, unless a blocked reader is being watched."""
        context = self._context
        if self._link.is_blocked:
            return
        if self._phase is HEAD:
            self._wait_until(context.header_timeout if self._pending else context.idle_timeout)
        elif self._phase is BODY:
            self._wait_until(context.limits.body_timeout if self._wants_body else _PROBE_S)
        elif self._phase is LINGER:
            self._wait_until(context.limits.lingering_timeout)
        elif self._phase is TUNNEL and (self._link.has_eof or self._link.has_sent_eof):
            self._wait_for_progress()
        elif self._phase is WAIT and not self._link.is_reading:
            self._wait_until(_PROBE_S)  # nothing would be heard of its end
        elif self._phase in (WAIT, TUNNEL):
            self.deadline = NEVER

    def _wait_for_progress(self) -> None:
        """From now on some byte must move within the send timeout, and on the average enough."""
        if self._uptake is None:
            self._uptake = Uptake(self._context.limits)
        now = self._context.deadlines.now
        self._uptake.watch(self._link.taken, self._given, now, waits=self._link.is_blocked)
        self._wait_until(self._uptake.patience_s(now))

    @property
    def _given(self) -> int:
        """Bytes that count as the client's progress; what lingering drops does not."""
        return 0 if self._phase is LINGER else self._pace.size

    def _judge_progress(self) -> None:
        uptake = self._uptake
        if uptake is None:
            return
        now = self._context.deadlines.now
        fault = uptake.judge(self._link.taken, self._given, now)
        if fault is None:
            self._wait_until(uptake.patience_s(now))
        else:
            self._fail_client(fault)
            self.abort()

    def _probe(self) -> None:
        state = self._link.peer_state
        if state is PeerState.GONE or (state is PeerState.HALF_CLOSED and self._is_parked):
            self._fail_client(ClientGone("gone while paused"))
            self.abort()
        else:
            self._wait_until(_PROBE_S)

    def _wait_until(self, timeout_s: float) -> None:
        if self._phase is CLOSED:
            return
        deadlines = self._context.deadlines
        self.deadline = deadlines.now + timeout_s
        deadlines.watch(self)
