"""One large body through the proxy, either way: CPU for a GiB."""

import socket
from collections.abc import Callable

from benchmarks.accounting import cpu_seconds
from benchmarks.peers import LARGE
from benchmarks.question import Peer, Question, Target

GIB = 1 << 30
CHUNK = 256 * 1024
SIZE = GIB // 2
UNIT = "CPU s/GiB"


def upload(peer: Peer, path: str, size: int, chunk: int | None = CHUNK) -> float:
    """CPU seconds a GiB for one upload, in chunks of `chunk` bytes or with its length told before.

    Raises RuntimeError when the answer is not 200.
    """
    step = chunk or CHUNK
    count = max(1, size // step)
    framing, piece, end = b"Content-Length: %d" % (count * step), bytes(step), b""
    if chunk is not None:
        framing, end = b"Transfer-Encoding: chunked", b"0\r\n\r\n"
        piece = b"%x\r\n" % step + piece + b"\r\n"
    before = cpu_seconds(peer.pid)
    with socket.create_connection(("127.0.0.1", peer.port), 60) as connection:
        head = b"PUT %b HTTP/1.1\r\nHost: b\r\n%b\r\n\r\n" % (path.encode(), framing)
        connection.sendall(head)
        for _ in range(count):
            connection.sendall(piece)
        connection.sendall(end)
        answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{answer[:200]!r}")
    return (cpu_seconds(peer.pid) - before) * GIB / (count * step)


def download(
    peer: Peer,
    path: str,
    size: int,
    secure: Callable[[socket.socket], socket.socket] = lambda plain: plain,
) -> float:
    """CPU seconds a GiB for one answer. Raises RuntimeError when it is cut short.

    `secure` makes of a connection what is asked over it.
    """
    request = b"GET %b HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n" % path.encode()
    sink = memoryview(bytearray(1 << 20))
    before = cpu_seconds(peer.pid)
    with secure(socket.create_connection(("127.0.0.1", peer.port), 60)) as connection:
        connection.sendall(request)
        taken = 0
        while taken < size and (count := connection.recv_into(sink)):
            taken += count
    if taken < size:
        raise RuntimeError(f"{taken} of {size} bytes")
    return (cpu_seconds(peer.pid) - before) * GIB / size


QUESTIONS = (
    Question(
        "large chunked upload passed through",
        UNIT,
        lambda peer, scale: upload(peer, "/x", int(SIZE * scale)),
        LARGE,
        (Target(0.9, "HAProxy"), Target(0.6, "nginx")),
    ),
    Question(
        "large answer passed through",
        UNIT,
        lambda peer, scale: download(peer, f"/bytes/{int(SIZE * scale)}", int(SIZE * scale)),
        LARGE,
        (Target(0.9, "HAProxy"), Target(0.6, "nginx")),
    ),
)
