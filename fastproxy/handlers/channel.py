"""A WebSocket for which the backend is asked first, and again and again while it is open.

    ASKING --permitted--> OPENING --101--> OPEN --one side ends--> OVER
    OPEN --not permitted any more, or its time is over--> CLOSING --both sides know--> OVER

Frames pass as they come. We only look where they end, for a frame of our own (a ping, the close
that says why) to come between two of them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from fastproxy.channels.frames import Frames, Opcode, close_payload, control_frame
from fastproxy.channels.permission import Permission
from fastproxy.channels.times import Times
from fastproxy.deadlines import NEVER, Timed
from fastproxy.errors import (
    BackendFault,
    BadResponse,
    Bug,
    FastproxyError,
    ShuttingDown,
    UpgradeRequired,
)
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.channel_kit import ChannelKit, End
from fastproxy.handlers.channel_request import channel_request, require_own_page
from fastproxy.handlers.proxy_pass import Forwarding
from fastproxy.handlers.upload_kit import question_of
from fastproxy.message import ResponseHead
from fastproxy.upstream.client import Answer
from fastproxy.upstream.pool import Pool
from fastproxy.wire.framing import Piece

log = logging.getLogger("fastproxy.channel")

_CLOSE_S: Final = 5.0  # for the end of a frame that has begun, and for the backend's goodbye
_WHICH: Final = ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))  # RFC 9110 section 7.8


class Step(Enum):
    """How far it is."""

    ASKING = "asking"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    OVER = "over"


_ASKING, _OPENING, _OPEN, _CLOSING, _OVER = Step


def make_channel(kit: ChannelKit) -> Callable[[Exchange], None]:
    """The handler of a route; it raises BodyTooLarge and ForbiddenOrigin."""

    def serve(exchange: Exchange) -> None:
        if exchange.head.upgrade.lower() != b"websocket":
            exchange.fail(UpgradeRequired("a channel is a WebSocket"), _WHICH)
            return
        require_own_page(exchange, kit.route.allowed_origins)
        Channel(kit, exchange).start()

    return serve


class Channel(Timed):
    """One channel: Sink, BodySource and Reply. Times are loop time."""

    def __init__(self, kit: ChannelKit, exchange: Exchange) -> None:
        super().__init__()
        self._kit = kit
        self._exchange = exchange
        self._question = question_of(exchange)
        self._step = _ASKING
        self._end = End.FAILED
        self._permission: Permission | None = None
        self._task: asyncio.Task[None] | None = None
        self._pool: Pool | None = None  # of a place of its own
        self._forwarding: Forwarding | None = None
        self._to_client, self._to_backend = Frames(), Frames()
        self._times: Times | None = None  # until it is open
        self._last_end = End.SESSION  # what `ends_at` of these is
        self.backend_s = 0.0
        self.retries = 0

    def start(self) -> None:
        """Ask the backend, and go on from there."""
        self._exchange.sink = self
        self._exchange.is_parked = True
        self._task = self._kit.tasks.start(self._admit())

    async def _admit(self) -> None:
        try:
            answer = await self._kit.asker.ask(self._question)
            if isinstance(answer, Answer):
                self._refuse(answer)
            else:
                self._connect(answer)
        except asyncio.CancelledError:
            self._fail(ShuttingDown("asking for a channel"))
            raise
        except FastproxyError as fault:
            self._fail(fault)
        except Exception:
            log.exception("bug in a channel", extra={"request_id": self._exchange.request_id})
            self._fail(Bug())
        finally:
            self._task = None

    def _refuse(self, answer: Answer) -> None:
        head = ResponseHead(answer.status, answer.reason, answer.headers)
        head.content_length = len(answer.body)
        self._end = End.REFUSED
        self._exchange.respond(head)
        self._exchange.write([answer.body])
        self._exchange.end()
        self._over()

    def _connect(self, permission: Permission) -> None:
        kit, exchange = self._kit, self._exchange
        self._permission = permission
        self._step = _OPENING
        exchange.is_parked = False
        outgoing = channel_request(exchange, permission)
        target = kit.target
        if permission.place is not None:
            target = kit.target_of(permission.place)
            self._pool = target.pool
        self._forwarding = Forwarding(outgoing, target, self, self)
        self._forwarding.start()

    def _fail(self, fault: FastproxyError) -> None:
        self._exchange.fail(fault)
        self._over()

    def _over(self) -> None:
        if self._step is _OVER:
            return
        self._step = _OVER
        self._kit.deadlines.forget(self)
        self._kit.ended(self, self._end)
        forwarding, self._forwarding = self._forwarding, None  # it holds us
        if forwarding is not None:
            forwarding.cancel()
        if self._pool is not None:
            self._pool.close()

    # -- time ----------------------------------------------------------------------------------

    def _opened(self) -> None:
        kit, permission = self._kit, self._permission
        longest_s = permission.max_session_s if permission is not None else None
        self._step = _OPEN
        self._times = Times(kit.route, longest_s, kit.deadlines.now)
        kit.opened(self)
        self._watch(self._times.next)

    def _watch(self, until: float) -> None:
        self.deadline = until
        self._kit.deadlines.watch(self)

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._step is _OVER

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        times = self._times
        if self._step is _CLOSING or times is None:
            self._exchange.end()
            self._over()
        elif now >= times.ends_at:
            self.close(self._last_end)
        elif now >= times.idle_at:
            self.close(End.IDLE)
        else:
            if now >= times.ask_at:
                times.ask_at = NEVER
                self._task = self._kit.tasks.start(self._ask_again())
            if now >= times.ping_at:
                self._ping(times)
            self._watch(times.next)

    def end_by(self, until: float) -> None:
        """See OpenChannel."""
        if self._times is not None and until < self._times.ends_at:
            self._times.ends_at = until
            self._last_end = End.DRAINED
            self._watch(self._times.next)

    def _ping(self, times: Times) -> None:
        """So that no balancer takes it for dead. While a frame is on its way there is no need."""
        times.ping_later(self._kit.deadlines.now)
        if self._to_client.is_between and not self._exchange.is_client_blocked:
            self._exchange.write([control_frame(Opcode.PING)])

    async def _ask_again(self) -> None:
        """As Workhorse does: what is refused, or permitted in other words, ends the channel."""
        try:
            answer = await self._kit.asker.ask(self._question)
        except BackendFault as fault:
            self.close(End.UNCONFIRMED, f": {fault}")
        except Exception:
            log.exception("bug in a channel", extra={"request_id": self._exchange.request_id})
            self.close(End.UNCONFIRMED)
        else:
            if answer != self._permission:
                self.close(End.REVOKED)
            elif self._step is _OPEN and self._times is not None:
                self._times.ask_later(self._kit.deadlines.now)
                self._watch(self._times.next)
        finally:
            self._task = None

    # -- closing -------------------------------------------------------------------------------

    def close(self, end: End, detail: str = "") -> None:
        """Tell both sides why, each after the frame that is on its way to it."""
        if self._step is not _OPEN:
            return
        exchange = self._exchange
        log.info(
            "channel closed: %s%s",
            end.reason,
            detail,
            extra={"request_id": exchange.request_id, "route": exchange.route_name},
        )
        self._end = end
        self._step = _CLOSING
        self._watch(self._kit.deadlines.now + _CLOSE_S)
        if self._to_client.is_between:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """The client gets its close frame and lingers; the backend has to answer its own."""
        payload = close_payload(self._end.code, self._end.reason)
        self._exchange.write([control_frame(Opcode.CLOSE, payload)])
        self._exchange.end()
        if self._forwarding is not None and self._to_backend.is_between:
            self._forwarding.reader_writable()  # nobody will say so any more
            self._forwarding.send_body([control_frame(Opcode.CLOSE, payload, masked=True)])
        else:
            self._over()

    # -- Reply ---------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """See Reply."""
        return self._exchange.stage

    @property
    def _is_elsewhere(self) -> bool:
        return self._pool is not None

    def interim(self, head: ResponseHead) -> None:
        """See Reply."""
        if not self._is_elsewhere:
            self._exchange.interim(head)

    def respond(self, head: ResponseHead) -> None:
        """See Reply: no WebSocket. The backend's own words are the client's, nobody else's.

        Raises BadResponse.
        """
        if self._is_elsewhere:
            raise BadResponse(f"{head.status} instead of a WebSocket")
        self._end = End.REFUSED
        self._count_backend()
        self._exchange.respond(head)

    def begin_tunnel(self, head: ResponseHead) -> None:
        """See Reply."""
        if self._is_elsewhere:
            head.headers = [
                each for each in head.headers if each[0].lower().startswith(b"sec-websocket-")
            ]
        self._count_backend()
        self._opened()
        self._exchange.begin_tunnel(head)

    def _count_backend(self) -> None:
        self._exchange.backend_s = self.backend_s
        self._exchange.retries = self.retries

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply."""
        exchange = self._exchange
        if self._step is _OPEN:
            self._note(self._to_client, pieces, End.BACKEND)
        if self._step is not _CLOSING:
            exchange.write(pieces)
            return
        for piece in pieces:
            if not self._to_client.is_between:
                view = memoryview(piece)
                exchange.write([view[: self._to_client.finish(view)]])
                if self._to_client.is_between:
                    self._say_goodbye()

    def _note(self, frames: Frames, pieces: Sequence[Piece], side: End) -> None:
        for piece in pieces:
            if frames.advance(memoryview(piece)) and self._times is not None:
                self._times.active_at = self._kit.deadlines.now
        if frames.has_closed:
            self._is_ended_by(side)

    def _is_ended_by(self, side: End) -> None:
        """Who is the first to close, or at least to send nothing more."""
        if self._end is End.FAILED:
            self._end = side

    def flush(self) -> None:
        """See Reply."""
        self._exchange.flush()

    def end(self) -> None:
        """See Reply."""
        self._exchange.end()
        self._over()

    def end_tunnel_answer(self) -> None:
        """See Reply."""
        if self._step is _CLOSING:
            self._exchange.end()
            self._over()
            return
        self._is_ended_by(End.BACKEND)
        self._exchange.end_tunnel_answer()

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
        # Whoever ends after the other may do so roughly; TLS knows no half-closed connection.
        if self._step is _CLOSING or self._end in (End.CLIENT, End.BACKEND):
            self._exchange.end()
            self._over()
        else:
            self._fail(fault)

    # -- BodySource ----------------------------------------------------------------------------

    def want_body(self) -> None:
        """See BodySource."""
        self._exchange.want_body()

    def pause_body(self) -> None:
        """See BodySource."""
        self._exchange.pause_body()

    def drop_body(self) -> None:
        """See BodySource."""

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        self._note(self._to_backend, pieces, End.CLIENT)
        if self._forwarding is not None:
            self._forwarding.send_body([*pieces])

    def body_end(self) -> None:
        """See Sink."""
        self._is_ended_by(End.CLIENT)
        if self._forwarding is not None:
            self._forwarding.end_body()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._is_ended_by(End.CLIENT)
        if self._task is not None:
            self._task.cancel()
        self._over()

    def client_blocked(self) -> None:
        """See Sink."""
        if self._forwarding is not None:
            self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        if self._forwarding is not None:
            self._forwarding.reader_writable()
