"""How much memory fastproxy holds, looked at from outside."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.processes import family

_ROWS: Final = {"Rss:": "rss", "Pss:": "pss", "Private_Clean:": "own", "Private_Dirty:": "own"}


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process: resident, its fair share of what is shared, and its own."""

    rss: int
    pss: int
    own: int


def memory(pid: int) -> Memory:
    """Now, as smaps_rollup tells it. Raises OSError when the process is gone."""
    found = {"rss": 0, "pss": 0, "own": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        if name in _ROWS:
            found[_ROWS[name]] += int(size) * 1024
    return Memory(**found)


@dataclass(slots=True)
class Watcher:
    """Looks at a process and its children; `peak` is the moment of most RSS."""

    pid: int
    peak: dict[int, Memory] = field(default_factory=dict)  # by pid

    def look(self) -> None:
        """One look."""
        now = {}
        for pid in family(self.pid):
            try:
                now[pid] = memory(pid)
            except OSError:
                continue
        if total_rss(now) > total_rss(self.peak):
            self.peak = now


def total_rss(found: dict[int, Memory]) -> int:
    """Of all processes; what they share counts more than once."""
    return sum(one.rss for one in found.values())
