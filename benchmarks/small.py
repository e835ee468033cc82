"""Requests one after another over 64 kept-alive connections: CPU for each."""

from collections.abc import Callable

from benchmarks.peers import LOGGING, PLAIN
from benchmarks.question import Peer, Question, Target
from benchmarks.wrk import WRK_NEED, cpu_per_request

SECONDS = 3
UNIT = "CPU us/request"


def asking(path: str, *options: str) -> Callable[[Peer, float], float]:
    """CPU microseconds for a request of this path."""
    return lambda peer, scale: cpu_per_request(peer, path, SECONDS * scale, *options)


QUESTIONS = (
    Question(
        "small request",
        UNIT,
        asking("/"),
        PLAIN,
        (Target(1.0, "nginx"),),
        (WRK_NEED,),
        known="Workhorse 184-216",
    ),
    Question(
        "small request, access log",
        UNIT,
        asking("/"),
        LOGGING,
        (Target(0.9, "nginx"),),
        (WRK_NEED,),
    ),
    Question("answer of 10 KiB", UNIT, asking("/bytes/10240"), PLAIN, needs=(WRK_NEED,)),
    Question("answer of 1 MiB", UNIT, asking("/bytes/1048576"), PLAIN, needs=(WRK_NEED,)),
)
