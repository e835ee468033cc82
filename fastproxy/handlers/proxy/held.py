"""Forward a request whose whole body is here already."""

from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.proxy.proxy_pass import Forwarding, Outgoing, Target


class HeldPass:
    """One such request: BodySource and Sink. Its answer goes straight to the client."""

    def __init__(self, exchange: Exchange, target: Target, outgoing: Outgoing, body: bytes) -> None:
        if exchange.head.has_body:
            outgoing.length = len(body)
        self._exchange = exchange
        self._body = body
        self._forwarding = Forwarding(outgoing, target, self, exchange)

    def start(self) -> None:
        """Begin."""
        self._exchange.sink = self
        self._forwarding.start()

    # -- BodySource ----------------------------------------------------------------------------

    def want_body(self) -> None:
        """See BodySource: it is small and goes at once."""
        if self._body:
            body, self._body = self._body, b""
            self._forwarding.send_body([body])
            self._forwarding.end_body()

    def pause_body(self) -> None:
        """See BodySource."""

    def drop_body(self) -> None:
        """See BodySource."""

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink: all of it has come."""

    def body_end(self) -> None:
        """See Sink."""

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._forwarding.cancel()

    def client_blocked(self) -> None:
        """See Sink."""
        self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        self._forwarding.reader_writable()
