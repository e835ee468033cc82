"""What the storm left: judged object by object, and one table of it."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.accounting import Memory
from benchmarks.pattern import Body, named
from benchmarks.storm.load import Outcome
from benchmarks.storm.probes import Probes
from benchmarks.storm.watching import total_rss

MIB: Final = 1 << 20
GIB: Final = 1 << 30


@dataclass(slots=True)
class Findings:
    """Everything that was seen. `held`: uploads in flight by second, all processes together."""

    planned: list[Body]
    outcomes: list[Outcome]
    probes: Probes
    objects: dict[str, str]  # the store's judgement by the name of the body
    store: dict[str, int]
    memory: dict[int, Memory]
    tcp: int  # bytes of the kernel ...
    tcp_limit: int  # ... and from how many on it makes all sockets slow
    master: int
    seconds: float
    cpu_s: float
    busy_s: float  # of all cores, by anybody
    cores: int
    spilled: float
    errors: Counter[str] = field(default_factory=Counter)  # lines of the error log, by message

    @property
    def endings(self) -> Counter[str]:
        """How uploads ended, by status or fault."""
        return sum((outcome.endings for outcome in self.outcomes), Counter[str]())

    @property
    def stored(self) -> set[str]:
        """Bodies whose clients were told that they are stored."""
        return {name for outcome in self.outcomes for name in outcome.stored}

    @property
    def exact(self) -> set[str]:
        """Of these, the ones that the store has, byte for byte."""
        return {name for name in self.stored if self.objects.get(name) == "exact"}

    @property
    def held(self) -> list[int]:
        """Uploads in flight, second by second."""
        seconds: Counter[int] = Counter()
        for outcome in self.outcomes:
            seconds.update(outcome.in_flight)
        return [count for _, count in sorted(seconds.items())]

    @property
    def bytes(self) -> int:
        """Of all bodies that are exact."""
        return sum(body.size for name in self.exact if (body := named(name)) is not None)

    def faults(self) -> list[str]:
        """What must not be, in words; nothing of it measures time."""
        planned = {body.name for body in self.planned}
        found = []
        if self.stored != planned:
            found.append(f"{len(planned - self.stored)} uploads not stored: {dict(self.endings)}")
        if self.exact != self.stored:
            found.append(f"{len(self.stored - self.exact)} objects not byte-exact")
        if self.objects.keys() - planned:
            found.append(f"{len(self.objects.keys() - planned)} objects that nobody sent")
        if self.store["pending"]:
            found.append(f"{self.store['pending']} multipart uploads left behind")
        bad = {what: n for what, n in self.probes.endings.items() if what != "200"}
        if bad:
            found.append(f"other requests failed: {bad}")
        return found

    def table(self) -> str:
        """One row for each figure."""
        rows = [*self._uploads(), *self._memory(), *self._others(), *self._costs()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows)

    def _uploads(self) -> list[tuple[str, str]]:
        held, done = self.held, len(self.stored)
        return [
            ("uploads planned", f"{len(self.planned):,}"),
            ("uploads done", f"{done:,}"),
            ("refused or failed", f"{len(self.planned) - done:,}"),
            ("byte-exact", f"{len(self.exact):,}"),
            ("bytes stored", f"{self.bytes / GIB:.2f} GiB"),
            ("duration", f"{self.seconds:.0f} s"),
            ("in flight at once, most", f"{max(held):,}"),
            ("seconds at 99 % of that or more", f"{sum(n >= 0.99 * max(held) for n in held)}"),
        ]

    def _memory(self) -> Iterable[tuple[str, str]]:
        yield "at the peak of memory", "RSS / PSS / private, MiB"
        for pid, one in self.memory.items():
            sizes = " / ".join(f"{size / MIB:.0f}" for size in (one.rss, one.pss, one.own))
            yield ("  master" if pid == self.master else f"  process {pid}"), sizes
        yield "total RSS", f"{total_rss(self.memory) / MIB:.0f} MiB"
        yield "total PSS", f"{sum(one.pss for one in self.memory.values()) / MIB:.0f} MiB"
        limit = f"all sockets are slow from {self.tcp_limit / MIB:.0f} on"
        yield "TCP in the kernel, most", f"{self.tcp / MIB:.0f} MiB; {limit}"

    def _others(self) -> Iterable[tuple[str, str]]:
        probes = self.probes
        yield "other requests, ms", "p50 / p99 / p99.9 / max"
        every = [*probes.kept_ms, *probes.fresh_ms]
        groups = {"all": every, "kept connections": probes.kept_ms, "new ones": probes.fresh_ms}
        for name, found in groups.items():
            yield f"  {name} ({len(found):,})", _percentiles(found)

    def _costs(self) -> list[tuple[str, str]]:
        per_gib = self.cpu_s * GIB / max(1, self.bytes)
        load = sum(outcome.cpu_s for outcome in self.outcomes)
        return [
            ("CPU of fastproxy", f"{self.cpu_s:.0f} s, {per_gib:.2f} s a GiB"),
            ("  an upload", f"{self.cpu_s / max(1, len(self.stored)) * 1000:.2f} ms"),
            ("CPU of the load", f"{load:.0f} s"),
            ("cores busy", f"{self.busy_s / self.seconds:.2f} of {self.cores}"),
            ("spilled", f"{self.spilled / GIB:.2f} GiB"),
            ("parts sent", f"{self.store.get('put', 0) + self.store.get('part', 0):,}"),
            ("lines in the error log", str(dict(self.errors.most_common(5)))),
        ]


def _percentiles(found: Sequence[float]) -> str:
    if len(found) < 2:
        return "-"
    cuts = statistics.quantiles(found, n=1000, method="inclusive")
    return f"{cuts[499]:.2f} / {cuts[989]:.2f} / {cuts[998]:.2f} / {max(found):.1f}"
