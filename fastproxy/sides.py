"""Who stands on either side of an exchange: the client's connection and the handler."""

from collections.abc import Sequence
from typing import Protocol

from fastproxy.errors import FastproxyError
from fastproxy.wire.framing import Piece


class Sink(Protocol):
    """Who takes the request body and hears what becomes of the client."""

    def body_data(self, pieces: list[memoryview]) -> None:
        """Payload. The views are good only during the call, unless a transport keeps them."""
        ...

    def body_end(self) -> None:
        """The body is complete."""
        ...

    def client_failed(self, fault: FastproxyError) -> None:
        """The client is gone, or its body will never be complete. Let go, then `exchange.fail`."""
        ...

    def client_blocked(self) -> None:
        """The client takes no more bytes now."""
        ...

    def client_writable(self) -> None:
        """The client takes bytes again."""
        ...


class DirectSink(Protocol):
    """A sink whose memory the kernel may fill itself."""

    def room(self) -> int:
        """Bytes it can take now; 0: it will ask for the body again when it has room."""
        ...

    def get_buffer(self) -> memoryview:
        """A writable window, never empty; only when `room()` is above 0.

        The same one until `buffer_updated`: nobody keeps it meanwhile, for that would keep its
        memory, and a socket that was ready may have had nothing to read.
        """
        ...

    def buffer_updated(self, nbytes: int) -> None:
        """The first `nbytes` of the window were filled."""
        ...


class Asker(Protocol):
    """Who is behind a request. `open`: what it has at once."""

    open: int


class ClientSide(Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_blocked(self) -> bool:
        """Whether the client takes no bytes now."""
        ...

    @property
    def is_body_complete(self) -> bool:
        """Whether the whole request body was read."""
        ...

    def write(self, pieces: Sequence[Piece]) -> None:
        """Write in one call to the kernel, as far as it takes it."""
        ...

    def want_body(self) -> None:
        """Read (on) in the request body."""
        ...

    def pause_body(self) -> None:
        """Stop reading the request body."""
        ...

    def begin_tunnel(self) -> None:
        """From now on all bytes are the sink's, both ways."""
        ...

    def send_eof(self) -> None:
        """Close our sending side: the other end of a tunnel is done."""
        ...

    def outlet(self) -> int:
        """A descriptor of the socket's, to be closed, for bytes that pass by the transport.

        -1: they cannot, under TLS, and while bytes of the transport's wait.
        """
        ...

    def passed(self, size: int) -> None:
        """So many bytes left by the outlet."""
        ...

    def pause_writing(self) -> None:
        """What the transport says when it is full, so says who uses the outlet."""
        ...

    def resume_writing(self) -> None:
        """The outlet takes bytes again."""
        ...

    def exchange_over(self, *, keep: bool) -> None:
        """The response is complete; `keep`: the connection may serve another request."""
        ...

    def abort(self) -> None:
        """Cut the connection: the response cannot be completed."""
        ...
