"""One question each. A question measures one peer once; rounds and ratios are the runner's."""

import re
import socket
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers import LOAD_CORE, Peer
from benchmarks.processes import cpu_seconds, private_bytes

CONNECTIONS = 64
IDLE_CONNECTIONS = 2000
GIB = 1 << 30
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """`ask` gives one figure for one peer, `unit` is its unit, `pick` chooses among rounds."""

    title: str
    unit: str
    ask: Callable[[Peer], float]
    pick: Callable[[list[float]], float] = statistics.median


def wrk(peer: Peer, path: str, seconds: float, *options: str) -> tuple[float, str]:
    """CPU microseconds a request, and wrk's own report."""
    url = f"http://127.0.0.1:{peer.port}{path}"
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", *options]
    before = cpu_seconds(peer.pid)
    run = subprocess.run(
        [*command, f"-d{seconds}s", url], capture_output=True, text=True, check=True
    )
    used = cpu_seconds(peer.pid) - before
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise RuntimeError(f"{peer.name}: {run.stdout}")
    count = re.search(r"(\d+) requests in", run.stdout)
    if count is None or not int(count[1]):
        raise RuntimeError(f"{peer.name}: no requests: {run.stdout}")
    return used / int(count[1]) * 1e6, run.stdout


def small_request_cpu(peer: Peer) -> float:
    """CPU microseconds for a small request over kept-alive connections."""
    return wrk(peer, "/", 3)[0]


def small_request_p99(peer: Peer) -> float:
    """Milliseconds that 99 of 100 small requests stay under, all connections always busy."""
    report = wrk(peer, "/", 3, "--latency")[1]
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    if found is None:
        raise RuntimeError(report)
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def _chunked_upload(peer: Peer, path: str, size: int) -> float:
    """CPU seconds a GiB for one upload of unknown length."""
    chunk = b"%x\r\n" % CHUNK + bytes(CHUNK) + b"\r\n"
    before = cpu_seconds(peer.pid)
    with socket.create_connection(("127.0.0.1", peer.port), 60) as connection:
        connection.sendall(
            b"PUT %b HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        )
        for _ in range(size // CHUNK):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{peer.name}: {answer[:200]!r}")
    return (cpu_seconds(peer.pid) - before) * GIB / size


def pass_upload(peer: Peer) -> float:
    """CPU seconds a GiB to pass a body of unknown length through."""
    return _chunked_upload(peer, "/x", GIB // 2)


def hijack_upload(peer: Peer) -> float:
    """CPU seconds a GiB to take a body of unknown length over into the local store."""
    return _chunked_upload(peer, "/uploads/x" if peer.name == "fastproxy" else "/x", GIB // 2)


def pass_response(peer: Peer) -> float:
    """CPU seconds a GiB to pass a large response through."""
    size = GIB // 2
    sink = memoryview(bytearray(1 << 20))
    before = cpu_seconds(peer.pid)
    with socket.create_connection(("127.0.0.1", peer.port), 60) as connection:
        connection.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n" % size)
        taken = 0
        while count := connection.recv_into(sink):
            taken += count
    if taken < size:
        raise RuntimeError(f"{peer.name}: {taken} of {size} bytes")
    return (cpu_seconds(peer.pid) - before) * GIB / size


def idle_connection(peer: Peer) -> float:
    """KiB of private memory for a connection that made one request and stays open."""
    before = private_bytes(peer.pid)
    connections = [_after_one_request(peer) for _ in range(IDLE_CONNECTIONS)]
    grown = private_bytes(peer.pid) - before
    for connection in connections:
        connection.close()
    return grown / IDLE_CONNECTIONS / 1024


def _after_one_request(peer: Peer) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", peer.port), 10)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
    answer = b""
    while not answer.endswith(b"Hello world\n"):
        answer += connection.recv(4096)
    return connection


QUESTIONS = (
    Question("small request, 64 kept-alive connections", "CPU us/request", small_request_cpu),
    Question("small request, p99 at saturation", "ms", small_request_p99),
    Question("upload of unknown length passed through", "CPU s/GiB", pass_upload),
    Question("large response passed through", "CPU s/GiB", pass_response),
    Question("upload of unknown length taken into the local store *", "CPU s/GiB", hijack_upload),
    # Only the first round has to take memory from the system; the next ones find it free.
    Question("idle connection after one request", "KiB", idle_connection, max),
)
