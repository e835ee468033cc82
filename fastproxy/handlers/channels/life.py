"""The life of a channel: who permits it, for how long, and how it ends.

ASKING --permitted--> OPENING --101--> OPEN --one side ends--> OVER
OPEN --not permitted any more, or its time is over--> CLOSING --both sides know--> OVER
"""

import asyncio
import logging
from enum import Enum
from typing import Final

from fastproxy.channels.frames import Frames, Opcode, close_payload, control_frame
from fastproxy.channels.permission import Permission
from fastproxy.channels.times import Times
from fastproxy.channels.translation import Translation
from fastproxy.errors import BackendFault, Bug, FastproxyError, ShuttingDown
from fastproxy.exchange import Exchange
from fastproxy.handlers.channels.kit import ChannelKit, End
from fastproxy.handlers.channels.request import channel_request
from fastproxy.handlers.proxy.proxy_pass import Forwarding, Outgoing, Target
from fastproxy.handlers.uploads.kit import question_of
from fastproxy.loop.deadlines import NEVER, Timed
from fastproxy.message import ResponseHead
from fastproxy.upstream.client import Answer
from fastproxy.upstream.pool import Pool

log = logging.getLogger("fastproxy.channel")

_CLOSE_S: Final = 5.0  # for the end of a frame that has begun, and for the backend's goodbye


class Step(Enum):
    """How far it is."""

    ASKING = "asking"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    OVER = "over"


ASKING, OPENING, OPEN, CLOSING, OVER = Step


class ChannelLife(Timed):
    """See the module. Who inherits moves the bytes. Times are loop time."""

    def __init__(self, kit: ChannelKit, exchange: Exchange) -> None:
        super().__init__()
        self._kit = kit
        self._exchange = exchange
        self._question = question_of(exchange)
        self._step = ASKING
        self._end = End.FAILED
        self._permission: Permission | None = None
        self._task: asyncio.Task[None] | None = None
        self._pool: Pool | None = None  # of a place of its own
        self._forwarding: Forwarding | None = None
        self._to_client, self._to_backend = Frames(), Frames()
        self._word = b""  # the client's, if the other side is to be spoken to in another
        self._for_client: Translation | None = None
        self._for_backend: Translation | None = None
        self._times: Times | None = None  # until it is open
        self._last_end = End.SESSION  # what `ends_at` of these is
        self.backend_s = 0.0
        self.retries = 0

    def start(self) -> None:
        """Ask the backend, and go on from there."""
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
        self._step = OPENING
        exchange.is_parked = False
        outgoing, self._word = channel_request(exchange, permission, kit.target.dialect)
        target = kit.target
        if permission.place is not None:
            target = kit.target_of(permission.place)
            self._pool = target.pool
        self._forwarding = self._make_forwarding(outgoing, target)
        self._forwarding.start()

    def _make_forwarding(self, outgoing: Outgoing, target: Target) -> Forwarding:
        raise NotImplementedError

    def _fail(self, fault: FastproxyError) -> None:
        self._exchange.fail(fault)
        self._over()

    def _over(self) -> None:
        if self._step is OVER:
            return
        self._step = OVER
        self._kit.deadlines.forget(self)
        self._kit.ended(self, self._end)
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        forwarding, self._forwarding = self._forwarding, None  # it holds us
        if forwarding is not None:
            forwarding.cancel()
        if self._pool is not None:
            self._pool.close()

    # -- time ----------------------------------------------------------------------------------

    def _opened(self) -> None:
        kit, permission = self._kit, self._permission
        longest_s = permission.max_session_s if permission is not None else None
        self._step = OPEN
        self._times = Times(kit.route, longest_s, kit.deadlines.now)
        kit.opened(self)
        self._watch(self._times.next)
        if kit.ends_at is not None:
            self.end_by(kit.ends_at)

    def _watch(self, until: float) -> None:
        self.deadline = until
        self._kit.deadlines.watch(self)

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._step is OVER

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        times = self._times
        if self._step is CLOSING or times is None:
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
        may_come = self._to_client.is_between and not self._to_client.has_closed
        if may_come and not self._exchange.is_client_blocked:
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
            elif self._step is OPEN and self._times is not None:
                self._times.ask_later(self._kit.deadlines.now)
                self._watch(self._times.next)
        finally:
            self._task = None

    # -- closing -------------------------------------------------------------------------------

    def close(self, end: End, detail: str = "") -> None:
        """Tell both sides why, each after the frame that is on its way to it."""
        if self._step is not OPEN:
            return
        exchange = self._exchange
        log.info(
            "channel closed: %s%s",
            end.reason,
            detail,
            extra={"request_id": exchange.request_id, "route": exchange.route_name},
        )
        self._end = end
        self._step = CLOSING
        self._watch(self._kit.deadlines.now + _CLOSE_S)
        if self._to_client.is_between:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """The client gets its close frame and lingers; the backend has to answer its own."""
        payload = close_payload(self._end.code, self._end.reason)
        if not self._to_client.has_closed:  # behind a close frame nothing may come (section 5.5.1)
            self._exchange.write([control_frame(Opcode.CLOSE, payload)])
        self._exchange.end()
        if self._forwarding is not None and self._to_backend.is_between:
            self._forwarding.reader_writable()  # nobody will say so any more
            if not self._to_backend.has_closed:
                last = self._for_backend.end_of_input() if self._for_backend is not None else b""
                close = control_frame(Opcode.CLOSE, payload, masked=True)
                self._forwarding.send_body([last + close])
        else:
            self._over()
