"""One storm from beginning to end."""

import json
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Final

from benchmarks.accounting import busy_seconds, cpu_seconds, tcp_pressure
from benchmarks.pattern import Body, prepare
from benchmarks.processes import forked
from benchmarks.storm import load, probes
from benchmarks.storm.mix import bodies
from benchmarks.storm.site import Site, site
from benchmarks.storm.verdict import Findings
from benchmarks.storm.watching import Watcher

SHARE: Final = 12_000  # clients of one load process: below its descriptors, and its ports
LOOK_S: Final = 1.0  # between two looks at the memory
SPARE: Final = 200  # descriptors of a load process besides its clients


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: other requests a second. An upload takes as long as `minutes` allow.

    `spread`: by what share of that the times of uploads differ, to both sides.
    """

    uploads: int
    concurrency: int
    minutes: float
    ramp_s: float = 60.0
    workers: int = 4
    budget_mib: int = 128
    rate: float = 50.0
    spread: float = 0.4

    @property
    def seconds(self) -> float:
        """The mean time of one upload: what is left after the ramp for all uses of a place."""
        uses = self.uploads / self.concurrency
        return max(1.0, (self.minutes * 60 - self.ramp_s) / (uses + self.spread))


def shares(plan: Plan, address: tuple[str, int]) -> list[load.Share]:
    """What each load process does. Raises RuntimeError where descriptors are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = -(-plan.concurrency // SHARE)
    places, uploads = -(-plan.concurrency // count), -(-plan.uploads // count)
    if places + SPARE > hard:
        raise RuntimeError(f"{places + SPARE} descriptors needed, {hard} allowed (was {soft})")
    made, left, free = [], plan.uploads, plan.concurrency
    for number in range(count):
        mine, at_once = min(uploads, left), min(places, free)
        left, free = left - mine, free - at_once
        source = f"127.0.0.{number + 2}"
        batch = bodies(number * uploads, mine)
        made.append(
            load.Share(address, source, batch, at_once, plan.ramp_s, plan.seconds, plan.spread)
        )
    return made


def storm(plan: Plan, home: Path, spill: Path) -> Findings:
    """Start everything, wait for the last answer, judge. `home` gets logs and state."""
    prepare()
    with site(home, spill, plan.workers, plan.budget_mib) as place:
        cores = os.sched_getaffinity(0)
        before, begun = cpu_seconds(place.pid), time.monotonic()
        busy_before = busy_seconds(cores)
        watcher = Watcher(place.pid)
        with _probing(place, plan.rate) as commands:
            work = shares(plan, place.address)
            outcomes = _load(work, watcher)
            seconds, cpu_s = time.monotonic() - begun, cpu_seconds(place.pid) - before
            busy_s = busy_seconds(cores) - busy_before
            commands.send(None)
            probed = commands.recv()
        planned: list[Body] = [body for share in work for body in share.bodies]
        return Findings(
            planned=planned,
            outcomes=outcomes,
            probes=probed,
            objects=place.stored(),
            store=place.store_stats(),
            memory=watcher.peak,
            tcp=watcher.tcp,
            tcp_limit=tcp_pressure(),
            master=place.pid,
            seconds=seconds,
            cpu_s=cpu_s,
            busy_s=busy_s,
            cores=len(cores),
            spilled=place.metrics().get("fastproxy_spill_written_bytes_total", 0.0),
            errors=_errors(home / "error.log"),
        )


def _load(work: list[load.Share], watcher: Watcher) -> list[load.Outcome]:
    """All load processes; what they found."""
    pipes: list[Connection] = []
    for share in work:
        here, there = Pipe()
        forked(load.run, share, there)  # it shares the bytes that it sends
        there.close()
        pipes.append(here)
    outcomes = []
    while pipes:
        for pipe in wait(pipes, LOOK_S):
            assert isinstance(pipe, Connection)
            outcomes.append(pipe.recv())
            pipes.remove(pipe)
        watcher.look()
    return outcomes


@contextmanager
def _probing(place: Site, rate: float) -> Iterator[Connection]:
    """The prober; it ends and sends what it found when it is told to."""
    here, there = Pipe()
    process = forked(probes.run, place.address, rate, there)
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


def _errors(log: Path) -> Counter[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    told = (json.loads(line) for line in lines)
    return Counter(one["msg"] for one in told if one.get("level") not in ("info", "debug"))
