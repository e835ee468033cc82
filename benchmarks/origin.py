"""The backend of the benchmarks: answers at once, swallows any body, permits any upload.

    python -m benchmarks.origin PORT

GET /bytes/N answers N bytes; anything with a body answers when the body is in. It is on the load's
core and not measured.
"""

import asyncio
import sys

import uvloop

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n"
PERMIT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fastproxy.authorize+json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
BLOCK = bytes(256 * 1024)
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Origin(asyncio.BufferedProtocol):
    """Just enough HTTP for proxies that frame correctly."""

    scratch = memoryview(bytearray(1 << 20))

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.head = b""
        self.left = 0  # of a body with a length
        self.tail: bytes | None = None  # the last bytes of a chunked body
        self.unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= nbytes
            if not self.left:
                self.transport.write(HELLO)
        elif self.tail is not None:
            self.chunked(bytes(self.scratch[max(0, nbytes - 7) : nbytes]))
        else:
            self.head += bytes(self.scratch[:nbytes])
            while b"\r\n\r\n" in self.head and not self.left and self.tail is None:
                self.request()

    def chunked(self, end: bytes) -> None:
        self.tail = ((self.tail or b"") + end)[-7:]
        if self.tail == LAST_CHUNK:
            self.tail = None
            self.transport.write(HELLO)

    def request(self) -> None:
        head, _, rest = self.head.partition(b"\r\n\r\n")
        self.head = rest
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            self.tail, self.head = b"", b""
            self.chunked(rest[-7:])
        elif b"content-length: " in lower:
            length = int(lower.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            self.head = b""
            self.left = length - len(rest)
            if not self.left:
                self.transport.write(PERMIT if b"/authorize " in head else HELLO)
        elif head.startswith(b"GET /bytes/"):
            self.unsent = int(head.split(b" ", 2)[1][7:])
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.unsent)
            self.resume_writing()
        else:
            self.transport.write(PERMIT if b"/authorize " in head else HELLO)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        while self.unsent and not self.is_paused:
            block = BLOCK[: self.unsent]
            self.unsent -= len(block)
            self.transport.write(block)


async def main(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Origin, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
