"""Just enough of an HTTP/1.1 server for the far sides of benchmarks.

Bodies with a length, never copied. It trusts its client to frame correctly and to wait for an
answer before the next request.
"""

import asyncio
import re
from typing import Final, NamedTuple, cast

READ: Final = 256 * 1024
_MAX_HEAD: Final = 16 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECTS: Final = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)


class Request(NamedTuple):
    """A head; `lines` is the whole of it."""

    method: bytes
    target: bytes
    lines: bytes
    size: int  # of the body

    def field(self, lower_name: bytes) -> bytes:
        """The value of a field, empty when there is none."""
        found = re.search(rb"\r\n%b: *([^\r]*)" % re.escape(lower_name), self.lines, re.IGNORECASE)
        return found[1] if found else b""


class Served(asyncio.BufferedProtocol):
    """One connection. All of a process read into one buffer, so a view is good only in its call."""

    _scratch: Final = memoryview(bytearray(READ))

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._head = b""
        self._left = 0

    def on_request(self, request: Request) -> None:
        """A request begins."""
        raise NotImplementedError

    def on_body(self, data: memoryview) -> None:
        """Some of its body."""

    def on_end(self) -> None:
        """It is complete: answer now or later."""
        raise NotImplementedError

    def answer(self, status: int, fields: bytes = b"", body: bytes = b"", size: int = -1) -> None:
        """`fields` are whole lines; `size` is what a HEAD request is told."""
        length = len(body) if size < 0 else size
        head = b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n%b\r\n" % (status, length, fields)
        self.transport.write(head + body)

    # -- asyncio.BufferedProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        data = self._scratch[:nbytes]
        while data:
            if self._left:
                taken, data = data[: self._left], data[self._left :]
                self._left -= len(taken)
                self.on_body(taken)
                if not self._left:
                    self.on_end()
            else:
                data = self._take_head(data)

    def _take_head(self, data: memoryview) -> memoryview:
        """What follows the head; nothing as long as it is not whole."""
        before = len(self._head)
        raw = self._head + bytes(data[:_MAX_HEAD])
        end = raw.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            self._head = raw
            return data[:0]
        self._head = b""
        lines = raw[:end]
        method, target, _ = lines.split(b"\r\n", 1)[0].split(b" ", 2)
        length = _LENGTH.search(lines)
        self._left = int(length[1]) if length else 0
        if self._left and _EXPECTS.search(lines):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.on_request(Request(method, target, lines, self._left))
        if not self._left:
            self.on_end()
        return data[end + 4 - before :]
