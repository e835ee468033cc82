"""A WebSocket for which the backend is asked first, and again and again while it is open.

Frames pass as they come. We only look where they end, for a frame of our own (a ping, the close
that says why) to come between two of them; only what has to be translated is taken apart.
"""

from collections.abc import Callable, Sequence
from typing import Final

from fastproxy.channels.frames import Frames
from fastproxy.channels.translation import WORDS, Translation, Untranslatable
from fastproxy.errors import BadResponse, FastproxyError, UpgradeRequired
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.channels.kit import ChannelKit, End
from fastproxy.handlers.channels.life import CLOSING, OPEN, ChannelLife
from fastproxy.handlers.channels.request import PROTOCOL, require_own_page
from fastproxy.handlers.proxy.proxy_pass import Forwarding, Outgoing, Target
from fastproxy.message import ResponseHead
from fastproxy.wire.framing import Piece

_WHICH: Final = ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))  # RFC 9110 section 7.8


def make_channel(kit: ChannelKit) -> Callable[[Exchange], None]:
    """The handler of a route; it raises BodyTooLarge and ForbiddenOrigin."""

    def serve(exchange: Exchange) -> None:
        if exchange.head.upgrade.lower() != b"websocket":
            exchange.fail(UpgradeRequired("a channel is a WebSocket"), _WHICH)
            return
        require_own_page(exchange, kit.route.allowed_origins)
        Channel(kit, exchange).start()

    return serve


class Channel(ChannelLife):
    """One channel: Sink, BodySource and Reply."""

    def start(self) -> None:
        """Ask the backend, and go on from there."""
        self._exchange.sink = self
        super().start()

    def _make_forwarding(self, outgoing: Outgoing, target: Target) -> Forwarding:
        return Forwarding(outgoing, target, self, self)

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
        if self._word:
            self._translate(head)
        self._count_backend()
        self._opened()
        self._exchange.begin_tunnel(head)

    def _translate(self, head: ResponseHead) -> None:
        """From here on messages are told in other words. Raises BadResponse."""
        chosen = (head.header(PROTOCOL) or b"").strip()
        if chosen not in WORDS or head.header(b"sec-websocket-extensions"):
            raise BadResponse(f"its WebSocket speaks {chosen!r:.100}, or in an extension")
        kept = [each for each in head.headers if each[0].lower() != PROTOCOL]
        head.headers = [*kept, (b"Sec-WebSocket-Protocol", self._word)]
        self._for_client = Translation(chosen, self._word, masked=False)
        self._for_backend = Translation(self._word, chosen, masked=True)

    def _translated(self, by: Translation | None, pieces: Sequence[Piece]) -> Sequence[Piece]:
        if by is None or self._step is not OPEN:
            return pieces
        try:
            data = by.feed(pieces)
        except Untranslatable as error:
            self.close(End.GARBLED, f": {error}")
            return []
        return [data] if data else []

    def _count_backend(self) -> None:
        self._exchange.backend_s = self.backend_s
        self._exchange.retries = self.retries

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply."""
        exchange = self._exchange
        pieces = self._translated(self._for_client, pieces)
        if self._step is OPEN:
            self._note(self._to_client, pieces, End.BACKEND)
        if self._step is not CLOSING:
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
        if self._step is CLOSING:
            self._exchange.end()
            self._over()
            return
        self._is_ended_by(End.BACKEND)
        self._exchange.end_tunnel_answer()

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
        # Whoever ends after the other may do so roughly; TLS knows no half-closed connection.
        if self._step is CLOSING or self._end in (End.CLIENT, End.BACKEND):
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
        out = self._translated(self._for_backend, pieces)
        self._note(self._to_backend, out, End.CLIENT)
        if out and self._forwarding is not None:
            self._forwarding.send_body([*out])

    def body_end(self) -> None:
        """See Sink."""
        self._is_ended_by(End.CLIENT)
        self._say_end_of_input()
        if self._forwarding is not None:
            self._forwarding.end_body()

    def _say_end_of_input(self) -> None:
        """For a client that has left without a close frame."""
        by, forwarding = self._for_backend, self._forwarding
        if by is not None and forwarding is not None and not self._to_backend.has_closed:
            forwarding.send_body([by.end_of_input()])

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._is_ended_by(End.CLIENT)
        self._say_end_of_input()
        self._over()

    def client_blocked(self) -> None:
        """See Sink."""
        if self._forwarding is not None:
            self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        if self._forwarding is not None:
            self._forwarding.reader_writable()
