"""The three acts, and the judgement."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.service.running import children
from tests.soak.census import held_by
from tests.soak.mischief import Mischief
from tests.soak.town import WORKERS, Town
from tests.soak.visitors import ALL, Gate, Visitor
from tests.support.client import Client
from tests.support.waiting import eventually

_WARM_UP = 0.4  # of the calm act: caches and pools fill
# Read buffers of slow readers (16 MiB), slabs that were never used before, kept connections.
_MAY_GROW = {
    "resident": 32 << 20, "objects": 2500, "descriptors": 30, "timed": 30, "threads": 4,
}  # fmt: skip
_MAY_GROW_IN_MASTER = {"resident": 1 << 20, "descriptors": 0, "threads": 0}


@dataclass
class Verdict:
    """What came of it. `faults` must be empty."""

    faults: list[str] = field(default_factory=list)
    visits: dict[str, int] = field(default_factory=dict)
    cuts: int = 0
    reloads: int = 0
    kills: int = 0
    store_faults: int = 0
    grown: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in vars(self).items() if name != "faults"]
        return "\n".join([*lines, *self.faults, f"{len(self.faults)} faults"])


def soak(town: Town, seconds: float, say: Callable[[str], None]) -> Verdict:
    """Play it; `say` hears of every act."""
    return _Soak(town, say).play(seconds)


class _Soak:
    def __init__(self, town: Town, say: Callable[[str], None]) -> None:
        self._town = town
        self._say = say
        self._gate = Gate()
        self._mischief = Mischief(town)
        self._visitors = [
            Visitor(town.site.port, self._gate, visit, self._mischief.may_be_cut)
            for visit, count in ALL
            for _ in range(count)
        ]
        self._verdict = Verdict()

    def play(self, seconds: float) -> Verdict:
        for thread in (self._mischief, *self._visitors):
            thread.start()
        try:
            self._calm(seconds * 0.4)
            self._restless(seconds * 0.6)
        finally:
            self._gate.end()
            self._mischief.stop()
        for visitor in self._visitors:
            visitor.join(60)
        self._count()
        return self._verdict

    # -- acts ----------------------------------------------------------------------------------

    def _calm(self, seconds: float) -> None:
        """Workers live through all of it, so what they hold can be compared."""
        self._say("calm")
        time.sleep(seconds * _WARM_UP)
        before = self._at_rest()
        time.sleep(seconds * (1 - _WARM_UP))
        after = self._at_rest()
        if before.keys() != after.keys():
            self._fault(f"workers {list(before)} became {list(after)}")
        for pid in before.keys() & after.keys():
            self._compare(f"worker {pid}", before[pid], after[pid], _MAY_GROW)
        self._balance()

    def _restless(self, seconds: float) -> None:
        """Workers come and go; the master stays."""
        self._say("reloads")
        self._mischief.reloads = True
        time.sleep(seconds * 0.2)
        before = held_by(self._town.site.pid)
        time.sleep(seconds * 0.3)
        self._say("reloads and kills")
        self._mischief.kills = True
        time.sleep(seconds * 0.5)
        self._mischief.reloads = self._mischief.kills = False
        eventually(self._is_one_generation, "old generations are gone", within=60)
        self._rest()
        eventually(lambda: not self._held(), "nothing is held")
        eventually(lambda: not self._town.site.journal(), "an empty journal")
        self._compare("master", before, held_by(self._town.site.pid), _MAY_GROW_IN_MASTER)
        eventually(lambda: not self._town.bucket.unfinished(), "no unfinished upload", within=60)
        if left := set(self._town.bucket.keys()) - self._kept():
            self._fault(f"objects that nobody was told of: {left}")

    def _held(self) -> set[str]:
        """What is held, but for uploads begun and not ended: so were those of killed workers."""
        return self._town.site.held().keys() - {"uploads"}

    def _kept(self) -> set[str]:
        """Keys whose report was out when a worker was killed: the log names them."""
        lines = map(json.loads, self._town.site.errors().splitlines())
        return {line["key"] for line in lines if "object kept" in line["msg"]}

    def _is_one_generation(self) -> bool:
        return len(children(self._town.site.pid)) == WORKERS + 1  # and the admin process

    # -- judging -------------------------------------------------------------------------------

    def _at_rest(self) -> dict[int, dict[str, int]]:
        """Nobody visits, nothing is held; what lives in each worker then."""
        self._rest()
        self._town.site.forgotten()
        found: dict[int, dict[str, int]] = {}
        with ExitStack() as kept:

            def ask() -> bool:
                client = kept.enter_context(Client(("127.0.0.1", self._town.site.port)))
                counted = json.loads(client.get("/census").body)
                found.setdefault(counted.pop("pid"), counted)
                return len(found) == WORKERS

            # Visitors keep connections, and a worker that has more of them leaves every new one to
            # the other (fastproxy/front/client_counts.py): only until that has as many, so who is
            # asked is kept.
            eventually(ask, f"{WORKERS} workers that answer")
        self._go_on()
        return found

    def _rest(self) -> None:
        self._gate.close()
        eventually(lambda: all(v.is_resting for v in self._visitors), "all rest", within=90)
        self._mischief.is_resting = True

    def _go_on(self) -> None:
        self._mischief.is_resting = False
        self._gate.open()

    def _balance(self) -> None:
        """Every request has one line."""

        def differ() -> int:
            metrics = self._town.site.metrics()
            counted = sum(v for k, v in metrics.items() if k.startswith("fastproxy_requests_total"))
            return int(counted) - len(self._town.site.lines())

        self._rest()
        self._town.site.at_rest()
        eventually(lambda: not differ(), f"one line for each request: {differ()} too few")
        self._go_on()

    def _compare(
        self, who: str, before: dict[str, int], after: dict[str, int], allowed: dict[str, int]
    ) -> None:
        for what, limit in allowed.items():
            growth = after[what] - before[what]
            self._verdict.grown[f"{who}, {what}"] = growth
            if growth > limit:
                self._fault(f"{who} grew: {what} {before[what]} -> {after[what]}")
        for what in before.keys() - allowed.keys():
            if after[what] > before[what]:
                self._fault(f"{who} grew: {what} {before[what]} -> {after[what]}")

    def _fault(self, text: str) -> None:
        self._verdict.faults.append(text)

    def _count(self) -> None:
        verdict = self._verdict
        for visitor in self._visitors:
            verdict.visits[visitor.name] = verdict.visits.get(visitor.name, 0) + visitor.visits
            verdict.cuts += visitor.cuts
            verdict.faults += visitor.faults
            if visitor.is_alive():
                verdict.faults.append(f"{visitor.name} hangs")
        verdict.faults += self._town.lies
        verdict.reloads = len(self._mischief.reloaded_at)
        verdict.kills = len(self._mischief.killed_at)
        verdict.store_faults = self._mischief.faults
