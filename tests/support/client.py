"""A client that sends exactly the bytes it is told to, and reads answers without a library."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Reply:
    """One answer. `is_complete`: its end was there, not only the connection's."""

    raw_head: bytes
    body: bytes = b""
    is_complete: bool = True

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.raw_head.split(b" ", 2)[1])

    def all(self, name: bytes) -> list[bytes]:
        """All values of the fields called `name` (lower case)."""
        fields = (line.split(b":", 1) for line in self.raw_head.split(b"\r\n")[1:])
        return [value.strip() for key, value in fields if key.lower() == name]

    def header(self, name: bytes) -> bytes | None:
        """The first of them."""
        return next(iter(self.all(name)), None)


class Client:
    """One connection to the proxy."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        rcvbuf: int = 0,
        timeout_s: float = 30,
        source: str = "",
    ) -> None:
        """`source`: the address to come from."""
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout_s)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def get(self, target: str = "/", *, fields: str = "", method: str = "GET") -> Reply:
        """One request without a body, and its answer."""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n".encode())
        return self.reply(is_head=method == "HEAD")

    def send_eof(self) -> None:
        """Half-close."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def more(self, size: int = 262144) -> bool:
        """Read some; False at EOF. ConnectionResetError as it comes."""
        data = self.sock.recv(size)
        self._buffer += data
        return bool(data)

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at EOF."""
        while len(self._buffer) < size and self.more():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def until_eof(self) -> bytes:
        """All that still comes."""
        while self.more():
            pass
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def is_at_eof(self) -> bool:
        """Whether the connection is closed with nothing left to read. Waits for either."""
        try:
            return not self._buffer and not self.more()
        except ConnectionResetError:
            return True

    def head(self) -> Reply:
        """The next head. EOFError when the connection ended before its end."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self.more():
                raise EOFError(bytes(self._buffer))
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return Reply(head)

    def reply(self, *, is_head: bool = False) -> Reply:
        """The next final answer with its body; `is_head`: HEAD was asked."""
        reply = self.head()
        while 100 <= reply.status < 200 and reply.status != 101:
            reply = self.head()
        if is_head or reply.status in (101, 204, 304):
            return reply
        length = reply.header(b"content-length")
        if reply.header(b"transfer-encoding") == b"chunked":
            reply.body = b"".join(self.chunks(reply))
        elif length is not None:
            reply.body = self.take(int(length))
            reply.is_complete = len(reply.body) == int(length)
        else:
            reply.body = self.until_eof()
        return reply

    def chunks(self, reply: Reply) -> Iterator[bytes]:
        """The payload of a chunked body; clears `is_complete` when its end is missing."""
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                if not self._more_of(reply):
                    return
            size = int(self._buffer[:end], 16)
            del self._buffer[: end + 2]
            while len(self._buffer) < size + 2:
                if not self._more_of(reply):
                    return
            assert self._buffer[size : size + 2] == b"\r\n"
            yield bytes(self._buffer[:size])
            del self._buffer[: size + 2]
            if not size:
                return

    def _more_of(self, reply: Reply) -> bool:
        try:
            has_more = self.more()
        except ConnectionResetError:
            has_more = False
        reply.is_complete = has_more
        return has_more
