"""How a client's request body is read: as much as is wanted, into whose memory, and at which pace.

A handler with memory of its own (`Exchange.direct`) has the kernel fill it; all others are handed
views of the scratch. What comes while nothing is wanted waits: `_pending` holds the little that was
read already, the kernel the rest.
"""

from enum import Enum
from typing import Final

from fastproxy.errors import BadBody, FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.front.guest import Guest
from fastproxy.front.life import BODY, TUNNEL, WAIT, ConnectionLife
from fastproxy.wire.framing import BodyDecoder

# A paused upload holds at most what one read brings; without room for a read, this little.
_STASH_BYTES: Final = 256
# Behind the payload that is sure to come: what of it is the client's next request, we must keep.
# Twice as much gains nothing; with half of it a GiB in chunks of 32 KiB took 10 to 30 % more.
_BEYOND_BYTES: Final = 128 * 1024


class Fill(Enum):
    """Where the kernel was told to put the bytes of the current read."""

    CHOOSING = "choosing"  # the loop is asking, and calls a null pointer if reading stops now
    SCRATCH = "scratch"
    STASH = "stash"
    DIRECT = "direct"


CHOOSING, SCRATCH, STASH, DIRECT = Fill


class BodyReading(ConnectionLife):
    """See the module."""

    __slots__ = ("_decoder", "_fill")

    def __init__(self, context: FrontContext, guest: Guest | None) -> None:
        """See ConnectionLife."""
        super().__init__(context, guest)
        self._decoder: BodyDecoder | None = None
        self._fill = SCRATCH

    def _body_memory(self) -> memoryview:
        """What the next read of a body or a tunnel may fill."""
        exchange, decoder = self._exchange, self._decoder
        scratch = self._context.scratch.view
        if exchange is None or decoder is None:
            return scratch
        reach, direct = decoder.reach(_BEYOND_BYTES), exchange.direct
        if direct is None:
            return scratch[:reach]
        self._fill = CHOOSING
        if not direct.room():
            self._fill = STASH
            return scratch[:_STASH_BYTES]
        self._fill = DIRECT
        return direct.get_buffer()[:reach]

    def want_body(self) -> None:
        """See ClientSide."""
        if self._phase is TUNNEL:
            self._link.start_reading()
        if self._phase is not BODY or self._wants_body:
            return
        self._wants_body = True
        self._pace.resume(self._context.deadlines.now)
        self._on_pending()
        if self._wants_body and self._phase is BODY:
            if self._link.has_eof:
                self._fail_client(BadBody("body ended before its time"))
            else:
                self._wait_as_phase_says()
                self._link.start_reading()
                exchange = self._exchange
                if exchange is not None and exchange.direct is not None:
                    self._link.read_with(self._context.reactor.bulk, self)

    def _on_pending(self) -> None:
        """Hand over what was read before it was wanted, as far as there is room."""
        exchange = self._exchange
        if exchange is None:
            return
        while self._pending and self._wants_body and exchange is self._exchange:
            room = len(self._pending) if exchange.direct is None else exchange.direct.room()
            if not room:
                self.pause_body()
                return
            data, self._pending = self._pending[:room], self._pending[room:]
            self._on_body(memoryview(data))

    def pause_body(self) -> None:
        """See ClientSide. A paused socket hears nothing, so it is probed from time to time."""
        if self._fill is CHOOSING:
            return  # no room: the stash is chosen, and what it gets pauses the body
        if self._phase is TUNNEL:
            self._link.stop_reading()
        elif self._phase is BODY and self._wants_body:
            self._wants_body = False
            self._pace.pause(self._context.deadlines.now)
            self._link.stop_reading()
            self._wait_as_phase_says()

    def _on_direct(self, nbytes: int) -> None:
        """The framing that came with the payload is squeezed out where it stands.

        A GiB in chunks of 256 KiB took 1.3 s with reads for payload alone, and others between them;
        it takes 0.6 s.
        """
        exchange, decoder = self._exchange, self._decoder
        if exchange is None or exchange.direct is None or decoder is None:
            return
        window = exchange.direct.get_buffer()[:nbytes]
        try:
            size, taken = decoder.squeeze(window)
            self._count_body(exchange, size)
        except FastproxyError as fault:
            self._fail_client(fault)
            return
        if taken < nbytes:
            self._pending = bytes(window[taken:])
        exchange.direct.buffer_updated(size)
        if decoder.is_done and exchange is self._exchange:  # else it was refused of these bytes
            self._body_complete(exchange)

    def _on_body(self, data: memoryview) -> None:
        exchange, decoder = self._exchange, self._decoder
        if exchange is None or exchange.sink is None or decoder is None:
            return
        try:
            pieces, taken = decoder.decode(data)
            self._count_body(exchange, sum(map(len, pieces)))
        except FastproxyError as fault:
            self._fail_client(fault)
            return
        if pieces:
            exchange.sink.body_data(pieces)
        if decoder.is_done and self._phase is BODY and exchange is self._exchange:
            self._pending = bytes(data[taken:]) + self._pending
            self._body_complete(exchange)

    def _count_body(self, exchange: Exchange, size: int) -> None:
        """Judge size and pace. Raises BodyTooLarge, TooSlow."""
        now = self._context.deadlines.now
        if self._phase is TUNNEL:
            self._pace.size += size
        else:
            self._pace.count(size, exchange.max_body, now)
            if not self._link.is_blocked:
                self.deadline = now + self._context.limits.body_timeout
        exchange.body_bytes = self._pace.size

    def _body_complete(self, exchange: Exchange) -> None:
        self._phase = WAIT
        self._wants_body = False
        self._decoder = None
        if not self._pending:
            self._link.start_reading()
        self._wait_as_phase_says()
        if exchange.sink is not None:
            exchange.sink.body_end()
