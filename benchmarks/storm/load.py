"""One process full of clients: so many at once, each of them slow.

Its clients begin one after another while the load ramps up; whoever is done makes room for the next
body. One epoll, and a wheel of 10 ms slots instead of a timer for each client.
"""

import random
import select
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.pattern import Body
from benchmarks.storm.client import Client

TICK_S: Final = 0.01
SLOTS: Final = 8192  # the longest pause there can be: 82 s
EVENTS: Final = 1024  # handled before the wheel has its turn
GIVE_UP_S: Final = 300.0  # after the last body should have arrived


@dataclass(frozen=True, slots=True)
class Share:
    """What one process does. `seconds`: the mean time of an upload, `spread`: how far from it."""

    address: tuple[str, int]
    source: str  # the address its connections come from
    bodies: list[Body]
    concurrency: int
    ramp_s: float
    seconds: float
    spread: float  # a share of it, to both sides


@dataclass(slots=True)
class Outcome:
    """What became of a share. `in_flight`: uploads at once, by second of the monotonic clock."""

    stored: list[str] = field(default_factory=list)  # names of bodies answered with success
    endings: Counter[str] = field(default_factory=Counter)
    in_flight: dict[int, int] = field(default_factory=dict)
    cpu_s: float = 0.0


class Load:
    """See the module."""

    def __init__(self, share: Share) -> None:
        self.outcome = Outcome()
        self._share = share
        self._chance = random.Random(share.source)
        self._waiting = deque(share.bodies)
        self._wheel: list[list[Client]] = [[] for _ in range(SLOTS)]
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._begun_at = time.monotonic()
        self._turned = 0  # slots since then
        self._begun = 0

    def run(self) -> Outcome:
        """Until every body has an answer; what has none in the end counts as lost."""
        share = self._share
        waves = len(share.bodies) / share.concurrency + 1
        longest = (1 + share.spread) * share.seconds
        deadline = self._begun_at + share.ramp_s + waves * longest + GIVE_UP_S
        while self._waiting or self._clients:
            now = time.monotonic()
            if now > deadline:
                self._give_up()
                break
            self.outcome.in_flight[int(now)] = len(self._clients)
            self._ramp(now)
            self._turn(now)
            self._listen()
        self.outcome.cpu_s = time.process_time()
        return self.outcome

    def _ramp(self, now: float) -> None:
        """Begin as many clients as it is time for."""
        share = self._share
        elapsed = (now - self._begun_at) / max(share.ramp_s, TICK_S)
        due = min(share.concurrency, int(share.concurrency * elapsed) + 1)
        while self._begun < due and self._waiting:
            self._begun += 1
            self._begin()

    def _begin(self) -> None:
        spread = self._share.spread
        seconds = self._share.seconds * self._chance.uniform(1 - spread, 1 + spread)
        client = Client(self._waiting.popleft(), seconds, self._over)
        client.connect(self._share.address, self._share.source)
        descriptor = client.sock.fileno()
        self._clients[descriptor] = client
        self._epoll.register(descriptor, select.EPOLLIN)
        self._put(client, TICK_S)

    def _put(self, client: Client, pause_s: float) -> None:
        slot = self._turned + max(1, min(SLOTS - 1, round(pause_s / TICK_S)))
        self._wheel[slot % SLOTS].append(client)

    def _turn(self, now: float) -> None:
        last = int((now - self._begun_at) / TICK_S)
        while self._turned < last:
            self._turned += 1
            slot = self._turned % SLOTS
            clients, self._wheel[slot] = self._wheel[slot], []
            for client in clients:
                if pause_s := client.step():
                    self._put(client, pause_s)

    def _listen(self) -> None:
        for descriptor, _ in self._epoll.poll(TICK_S, EVENTS):
            if (client := self._clients.get(descriptor)) is not None:
                client.read()

    def _over(self, client: Client, what: str) -> None:
        self.outcome.endings[what] += 1
        if what.startswith("2") and what.isdigit():
            self.outcome.stored.append(client.body.name)
        del self._clients[client.sock.fileno()]
        if self._waiting:
            self._begin()

    def _give_up(self) -> None:
        self._waiting.clear()
        for client in list(self._clients.values()):
            client.fail(f"no answer while {client.stage.value}")


def run(share: Share, results: Connection) -> None:
    """The body of a load process."""
    results.send(Load(share).run())
