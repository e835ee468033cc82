import asyncio

from fastproxy.loop.deadlines import Timed

class Reader(Timed):
    """A protocol that reads into memory of its own: see asyncio.BufferedProtocol."""

    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...

class Descriptor:
    """The socket of a connection, beneath its transport: reading on and off, by either way."""

    @property
    def fd(self) -> int:
        """The socket's; -1 when only the transport may use it."""

    def __init__(self, transport: asyncio.BaseTransport, fd: int) -> None:
        """`fd` -1: only the transport may use it, for it is TLS."""

    def is_silent(self) -> bool:
        """Whether nothing lies in the kernel to be read."""

    @property
    def is_taken(self) -> bool:
        """Whether it is read past its transport."""

    def mark(self) -> None:
        """Something was sent, to which there may be an answer."""

    def is_later(self) -> bool:
        """Whether what is read now came after `mark`, for a look in between found nothing.

        False: unknown.
        """

    def pause(self) -> None:
        """Leave what comes to the kernel."""

    def resume(self) -> None:
        """Read on."""

    def leave(self) -> None:
        """Leave all to the transport, which may be closed now. Idempotent."""

    def forget(self) -> None:
        """The transport is gone. Idempotent."""

class Readiness:
    """Connections of a process that are read past their transports, so many in a turn of the loop.

    Between any two of them those that are `urgent` are read.
    """

    is_on: bool

    def __init__(self, urgent: Readiness | None = None, at_once: int = 64) -> None:
        """`at_once`: 1 to 64, else ValueError."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take connections. Raises OSError."""

    def stop(self) -> None:
        """Take no more, and read none of those that are left."""

    def catch_up(self) -> None:
        """Read who is due now, in the middle of other work, at a place where anything may happen.

        It costs a system call when nobody is.
        """

    def take(self, descriptor: Descriptor, reader: Reader) -> bool:
        """Read past the transport, which reads now, until there is trouble. False: not possible.

        It may be in another such set, which it leaves.
        """
