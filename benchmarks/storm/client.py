"""One client that uploads a body of unknown length little by little.

A plain non-blocking socket: at these numbers the load must cost less than what it loads.
"""

import errno
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import ceil
from typing import Final

from benchmarks.pattern import Body, piece

PIECE: Final = 64 * 1024  # the most sent at once
FEWEST: Final = 4  # pieces of one body
LONGEST_PAUSE_S: Final = 10.0
AGAIN_S: Final = 0.1  # the kernel took not all of a piece
BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h: connect() chooses the port
_HEAD: Final = (
    b"PUT /uploads/%b HTTP/1.1\r\nHost: storm\r\nUser-Agent: runner/1.0\r\n"
    b"Content-Type: application/zip\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 (\d+).*?\r\nContent-Length: (\d+)\r\n", re.DOTALL | re.IGNORECASE
)


class Stage(Enum):
    """SENDING -> WAITING -> OVER; an early answer or a failure ends it at once."""

    SENDING = "sending"
    WAITING = "waiting"
    OVER = "over"


class Client:
    """One upload over a connection of its own. `on_over` hears the status, or what failed."""

    __slots__ = ("_answer", "_on_over", "_pause_s", "_piece", "_sent", "_unsent", "body", "sock",
                 "stage")  # fmt: skip

    def __init__(
        self, body: Body, seconds: float, on_over: Callable[["Client", str], None]
    ) -> None:
        """`seconds`: how long its bytes shall take."""
        self.body = body
        self.stage = Stage.SENDING
        pieces = max(FEWEST, ceil(body.size / PIECE), ceil(seconds / LONGEST_PAUSE_S))
        self._piece = ceil(body.size / pieces)
        self._pause_s = seconds / pieces
        self._sent = 0
        self._unsent = _HEAD % body.name.encode()
        self._answer = b""
        self._on_over = on_over
        self.sock = socket.socket()

    def connect(self, address: tuple[str, int], source: str) -> None:
        """Begin to connect."""
        sock = self.sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        sock.connect_ex(address)  # what fails is heard of with the first piece

    def step(self) -> float:
        """Send the next piece, or the rest of the last one; seconds until the next step."""
        if self.stage is not Stage.SENDING:
            return 0.0
        try:
            self._flush()
            if not self._unsent and self._sent < self.body.size:
                self._unsent = self._next_piece()
                self._flush()
        except BlockingIOError:
            return AGAIN_S
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self.read()  # there may be an answer that tells why
                self.fail(errno.errorcode.get(error.errno or 0, "?"))
                return 0.0
            return AGAIN_S
        if self._unsent:
            return AGAIN_S
        if self._sent == self.body.size:
            self.stage = Stage.WAITING
            return 0.0
        return self._pause_s

    def _next_piece(self) -> bytes:
        size = min(self._piece, self.body.size - self._sent)
        data = piece(self.body.start + self._sent, size)
        self._sent += size
        end = b"\r\n0\r\n\r\n" if self._sent == self.body.size else b"\r\n"
        return b"".join((b"%x\r\n" % size, data, end))

    def _flush(self) -> None:
        if self._unsent:
            self._unsent = self._unsent[self.sock.send(self._unsent) :]

    def read(self) -> None:
        """The kernel has something for it."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(errno.errorcode.get(error.errno or 0, "?"))
            return
        self._answer += data
        found = _ANSWER.match(self._answer)
        if found is not None:
            end = self._answer.find(b"\r\n\r\n") + 4
            if end > 3 and len(self._answer) >= end + int(found[2]):
                self._judge(found[1].decode())
                return
        if not data:
            self.fail("closed")

    def _judge(self, status: str) -> None:
        """An answer before all was sent is a refusal, whatever it says."""
        self.fail(status if self.stage is Stage.WAITING else f"{status} early")

    def fail(self, what: str) -> None:
        """It is over; `what` is the status when there is one."""
        if self.stage is Stage.OVER:
            return
        self.stage = Stage.OVER
        self._on_over(self, what)
        with suppress(OSError):
            self.sock.close()


OnOver = Callable[[Client, str], None]
