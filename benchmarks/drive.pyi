from array import array
from collections.abc import Sequence

class Drive:
    """Requests over connections that are open, one at a time on each.

    Raises RuntimeError for an answer that is not 200 and for a connection that closes, OSError
    when one fails.
    """

    found: list[float]
    """Seconds from due to answered, of every request that was answered."""

    def __init__(self, fds: Sequence[int], request: bytes, tail: bytes) -> None:
        """`fds`: descriptors of connected sockets, which stay the caller's. An answer ends with
        `tail`."""

    def run(self, due: array[float], delay: float, limit: float) -> tuple[list[float], int]:
        """Send a request at each time of `due`, or as soon after it as a connection is free.

        Times are seconds from `delay` seconds after the call, `due` in order. Over when all are
        answered, or at `limit`: returned is when the requests that still wait for an answer were
        due, and how many were sent at all.
        """
