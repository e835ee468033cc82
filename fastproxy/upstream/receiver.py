"""Who an exchange on a connection is for."""

from collections.abc import Sequence
from typing import Protocol

from fastproxy.errors import BackendFault
from fastproxy.message import ResponseHead
from fastproxy.wire.framing import Piece


class Receiver(Protocol):
    """Who an exchange is for. Calls come in this order; `response_failed` may follow any."""

    def response_head(self, head: ResponseHead) -> None:
        """A head; interim ones (1xx) come first. 101 makes everything after it `response_data`."""
        ...

    def response_data(self, pieces: Sequence[Piece]) -> None:
        """Payload. The views are good only during the call, unless a transport keeps them."""
        ...

    def response_flush(self) -> None:
        """All of one read has been told: write now what was held back to be sent together."""
        ...

    def response_end(self) -> None:
        """The response is complete. The connection has already been given back or closed."""
        ...

    def response_failed(self, fault: BackendFault) -> None:
        """The exchange is over without a complete response."""
        ...

    def backend_blocked(self) -> None:
        """The backend takes no more bytes now."""
        ...

    def backend_writable(self) -> None:
        """The backend takes bytes again."""
        ...
