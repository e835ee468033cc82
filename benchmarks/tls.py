"""The same over TLS 1.3: what encryption, records and handshakes add.

Clients and servers agree on TLS_AES_256_GCM_SHA384, which OpenSSL prefers on either side. No
session is resumed.
"""

import socket

from benchmarks.accounting import cpu_seconds
from benchmarks.bodies import GIB, UNIT, download
from benchmarks.connections import connected
from benchmarks.peers import OPENSSL_NEED, SECURE
from benchmarks.processes import secured
from benchmarks.question import Peer, Question, Target
from benchmarks.small import SECONDS
from benchmarks.wrk import WRK_NEED, cpu_per_request

CIPHER = "TLS_AES_256_GCM_SHA384"
HANDSHAKES = 1000
SIZE = GIB // 4
TARGETS = (Target(1.2, "nginx"),)


def agreed(plain: socket.socket) -> socket.socket:
    """TLS over `plain`. Raises RuntimeError when another cipher was agreed on."""
    connection = secured(plain)
    cipher = connection.cipher()
    if cipher is None or cipher[0] != CIPHER:
        connection.close()
        raise RuntimeError(f"agreed on {cipher}")
    return connection


def download_over_tls(peer: Peer, scale: float) -> float:
    """CPU seconds a GiB."""
    size = int(SIZE * scale)
    return download(peer, f"/bytes/{size}", size, agreed)


def handshake(peer: Peer, scale: float) -> float:
    """CPU microseconds for a client that shakes hands and resets the connection."""
    count = max(50, int(HANDSHAKES * scale))
    before = cpu_seconds(peer.pid)
    for _ in range(count):
        agreed(connected(peer)).close()
    return (cpu_seconds(peer.pid) - before) / count * 1e6


QUESTIONS = (
    Question(
        "small request over TLS",
        "CPU us/request",
        lambda peer, scale: cpu_per_request(peer, "/", SECONDS * scale, scheme="https"),
        SECURE,
        TARGETS,
        (WRK_NEED, OPENSSL_NEED),
    ),
    Question(
        "large answer over TLS",
        UNIT,
        download_over_tls,
        SECURE,
        TARGETS,
        (OPENSSL_NEED,),
    ),
    Question("TLS handshake", "CPU us", handshake, SECURE, TARGETS, (OPENSSL_NEED,)),
)
