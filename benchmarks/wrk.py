"""Closed-loop load by wrk: every connection asks again as soon as it has its answer."""

import re

from benchmarks.accounting import cpu_seconds
from benchmarks.processes import LOAD_CORE, output_of
from benchmarks.question import Need, Peer

WRK_NEED = Need("wrk", debian="wrk")
CONNECTIONS = 64


def cpu_per_request(
    peer: Peer, path: str, seconds: float, *options: str, scheme: str = "http"
) -> float:
    """CPU microseconds of the peer for one request.

    `options` are wrk's. Raises RuntimeError when a request fails or none is answered.
    """
    url = f"{scheme}://127.0.0.1:{peer.port}{path}"
    # It takes whole seconds only.
    duration = f"-d{max(1, round(seconds))}s"
    before = cpu_seconds(peer.pid)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", *options, duration, url]
    report = output_of(command, LOAD_CORE)
    used = cpu_seconds(peer.pid) - before
    return used / requests_of(report) * 1e6


def requests_of(report: str) -> int:
    """How many requests wrk made. Raises RuntimeError when one of them failed, or all."""
    found = re.search(r"(\d+) requests in", report)
    if "Non-2xx" in report or "Socket errors" in report or not found or not int(found[1]):
        raise RuntimeError(report)
    return int(found[1])
