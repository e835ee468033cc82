"""How much memory fastproxy holds, and the kernel for all sockets, looked at from outside."""

from dataclasses import dataclass, field

from benchmarks.accounting import Memory, family, memory, tcp_bytes


@dataclass(slots=True)
class Watcher:
    """Looks at a process and its children; `peak` is the moment of most RSS, `tcp` in bytes."""

    pid: int
    peak: dict[int, Memory] = field(default_factory=dict)  # by pid
    tcp: int = 0  # the most

    def look(self) -> None:
        """One look."""
        self.tcp = max(self.tcp, tcp_bytes())
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
