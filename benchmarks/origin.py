"""The backend of the benchmarks: answers at once, swallows any body, permits any upload.

    python -m benchmarks.origin PORT

GET /bytes/N answers N bytes, GET /headers an answer with the header fields of a real application;
GET /sent/N orders the file N to be sent (X-Accel-Redirect);
anything with a body is answered when the body is in. It is on the load's core and not measured,
but must not be what everybody waits for. For a small request it takes 5.4 us where nginx takes 4.9
with `return 200` (measured in turns), and nginx answers before it has read a body.
"""

import asyncio
import sys

import uvloop

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n"
PERMIT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fastproxy.authorize+json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
REALISTIC = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Tue, 03 Nov 2026 10:15:30 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: 12\r\n"
    b"Cache-Control: max-age=0, private, must-revalidate\r\n"
    b'ETag: W/"5d41402abc4b2a76b9719d911017c592"\r\n'
    b"Vary: Accept-Encoding, Origin\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"X-Runtime: 0.012345\r\n"
    b"Set-Cookie: _session=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4; path=/; secure; HttpOnly\r\n"
    b"Strict-Transport-Security: max-age=63072000\r\n"
    b"\r\nHello world\n"
)
BLOCK = bytes(256 * 1024)
END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"


def with_bytes(count: int) -> bytes:
    """The head of an answer with so many bytes."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count


SENT = (10 << 10, 100 << 20)  # bytes of the files that are ordered


def order(count: int) -> bytes:
    """An answer in whose place a file is to be sent."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 0\r\n"
        b"X-Accel-Redirect: /files/%d\r\n\r\n" % count
    )


# Answers that are ready to be written, by the beginning of the request.
READY = {
    b"GET /": HELLO,
    b"GET /headers": REALISTIC,
    **{b"GET /bytes/%d" % count: with_bytes(count) + bytes(count) for count in (10 << 10, 1 << 20)},
    **{b"GET /sent/%d" % count: order(count) for count in SENT},
}


class Origin(asyncio.BufferedProtocol):
    """Just enough HTTP for proxies that frame correctly and clients that do not pipeline."""

    scratch = memoryview(bytearray(1 << 20))

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.head = b""
        self.left = 0  # of a body with a length
        self.tail: bytes | None = None  # the last bytes of a chunked body
        self.answer = HELLO  # when the body is in
        self.unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.body(nbytes)
        elif self.tail is not None:
            self.chunked(bytes(self.scratch[max(0, nbytes - 7) : nbytes]))
        else:
            head = self.head + bytes(self.scratch[:nbytes])
            ready = READY.get(head[: head.find(b" ", 4)])
            if ready and head.endswith(END_OF_HEAD):
                self.head = b""
                self.transport.write(ready)
            else:
                self.head = head
                if END_OF_HEAD in head:
                    self.request()

    def request(self) -> None:
        head, _, rest = self.head.partition(END_OF_HEAD)
        self.head = b""
        lower = head.lower()
        self.answer = PERMIT if b"/authorize " in head else HELLO
        if b"transfer-encoding: chunked" in lower:
            self.tail = b""
            self.chunked(rest[-7:])
        elif b"content-length: " in lower:
            self.left = int(lower.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            self.body(len(rest))
        elif head.startswith(b"GET /bytes/"):
            self.unsent = int(head.split(b" ", 2)[1][7:])
            self.transport.write(with_bytes(self.unsent))
            self.resume_writing()
        else:
            self.body(0)

    def body(self, nbytes: int) -> None:
        self.left -= nbytes
        if not self.left:
            self.transport.write(self.answer)

    def chunked(self, end: bytes) -> None:
        self.tail = ((self.tail or b"") + end)[-7:]
        if self.tail == LAST_CHUNK:
            self.tail = None
            self.transport.write(self.answer)

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
