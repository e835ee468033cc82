"""Both ends of what is forwarded: where a body comes from, and where the answer goes."""

from collections.abc import Sequence
from typing import Final, Protocol

from fastproxy.errors import BadResponse, FastproxyError
from fastproxy.exchange import STARTED, Stage
from fastproxy.message import ResponseHead
from fastproxy.wire.framing import Piece

# Up to here the rest of an unwanted answer is read, so that its connection can be kept.
_DROPPED_BYTES: Final = 64 * 1024


class BodySource(Protocol):
    """Where a request body comes from: the client's connection, or a buffer of ours."""

    def want_body(self) -> None:
        """Deliver (on) by `send_body`, then `body_end`."""
        ...

    def pause_body(self) -> None:
        """Deliver nothing until it is wanted again."""
        ...

    def drop_body(self) -> None:
        """Nobody takes any more of it: the answer is complete, or there will be none."""
        ...


class Reply(Protocol):
    """Where the answer goes: the exchange, or a buffer before it."""

    backend_s: float
    retries: int

    @property
    def stage(self) -> Stage:
        """How far the response is."""
        ...

    def interim(self, head: ResponseHead) -> None:
        """A 1xx head."""
        ...

    def respond(self, head: ResponseHead) -> None:
        """The head."""
        ...

    def write(self, pieces: Sequence[Piece]) -> None:
        """Some of the body."""
        ...

    def flush(self) -> None:
        """Send what is held back."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    def begin_tunnel(self, head: ResponseHead) -> None:
        """101."""
        ...

    def end_tunnel_answer(self) -> None:
        """The backend's side of a tunnel has ended."""
        ...

    def fail(self, fault: FastproxyError) -> None:
        """There will be no (complete) answer."""
        ...


class Dropping:
    """The ends of a request whose answer nobody wants any more. BodySource and Reply."""

    def __init__(self) -> None:
        self.backend_s = 0.0
        self.retries = 0
        self._size = 0

    @property
    def stage(self) -> Stage:
        """See Reply."""
        return STARTED

    def want_body(self) -> None:
        """See BodySource: what is not sent by now is not sent."""

    def pause_body(self) -> None:
        """See BodySource."""

    def drop_body(self) -> None:
        """See BodySource."""

    def interim(self, head: ResponseHead) -> None:
        """See Reply."""

    def respond(self, head: ResponseHead) -> None:
        """See Reply."""

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply. Raises BadResponse, which ends the connection, when it is too much."""
        self._size += sum(map(len, pieces))
        if self._size > _DROPPED_BYTES:
            raise BadResponse("too long for an answer that is dropped")

    def flush(self) -> None:
        """See Reply."""

    def end(self) -> None:
        """See Reply."""

    def begin_tunnel(self, head: ResponseHead) -> None:
        """See Reply."""

    def end_tunnel_answer(self) -> None:
        """See Reply."""

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
