"""A worker's regular look at itself: loop lag, resident memory, and the gauges others keep."""

import asyncio
import contextlib
import os

from fastproxy.observe.metrics import WorkerMetrics

INTERVAL = 0.5

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Pulse:
    """Runs `metrics.samplers` twice a second from start to stop."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._lag = metrics.histogram("fastproxy_loop_lag_seconds")
        self._rss = metrics.cell("fastproxy_worker_rss_bytes")
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin; needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + INTERVAL
        self._timer = loop.call_at(self._due, self._beat)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._lag.observe(max(0.0, asyncio.get_running_loop().time() - self._due))
        self.start()
        with contextlib.suppress(OSError):  # no /proc: the gauge stays 0
            self._rss.set(resident_bytes())
        for sample in self._metrics.samplers:
            sample()


def resident_bytes() -> int:
    """This process' resident memory (proc(5), statm). Raises OSError without /proc."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
