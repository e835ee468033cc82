"""What 99 of 100 small requests stay under, at 70 % of saturation, under open-loop load.

Saturation is where all connections are always busy. Load and backend are part of every figure; the
TCP relay shows how large a part.
"""

from dataclasses import dataclass, field, replace

from benchmarks.openloop import DRIVE_NEED, Load, latencies, percentile, saturation
from benchmarks.peers import FASTPROXY, HAPROXY, NGINX, PLAIN, RELAY
from benchmarks.question import Peer, Question, Target
from benchmarks.wrk import CONNECTIONS

SHARE = 0.7
SECONDS = 3
LOAD = Load(
    rate=0,
    seconds=0,
    connections=CONNECTIONS,
    request=b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    tail=b"Hello world\n",
)


def at_seventy(peer: Peer, scale: float) -> float:
    """Requests a second: 70 % of what it can do."""
    return SHARE * saturation(peer.port, replace(LOAD, seconds=SECONDS * scale))


def p99(peer: Peer, rate: float, scale: float) -> float:
    """Milliseconds that 99 of 100 requests stay under."""
    load = replace(LOAD, rate=rate, seconds=SECONDS * scale)
    return percentile(latencies(peer.port, load), 0.99) * 1000


@dataclass(slots=True, eq=False)
class SameRate:
    """Everybody at 70 % of the saturation of one peer, who has to be asked before the others."""

    name: str
    rate: float = field(default=0.0, init=False)

    def __call__(self, peer: Peer, scale: float) -> float:
        """Milliseconds. Raises RuntimeError before that peer was asked."""
        if peer.name == self.name:
            self.rate = at_seventy(peer, scale)
        if not self.rate:
            raise RuntimeError(f"how much {self.name} can do is not known")
        return p99(peer, self.rate, scale)


QUESTIONS = (
    Question(
        "p99 of small requests, each at 70 % of its own saturation",
        "ms",
        lambda peer, scale: p99(peer, at_seventy(peer, scale), scale),
        PLAIN,
        (Target(1.0, "nginx"),),
        (DRIVE_NEED,),
    ),
    Question(
        "p99 of small requests, all at 70 % of nginx's saturation",
        "ms",
        SameRate("nginx"),
        (NGINX, FASTPROXY, HAPROXY, RELAY),
        (Target(1.0, "nginx"),),
        (DRIVE_NEED,),
    ),
)
