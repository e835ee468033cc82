"""How full a worker is, told twice a second."""

from collections.abc import Collection

from fastproxy.front.context import FrontContext
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.memory.arena import Arena
from fastproxy.observe.metrics import WorkerMetrics


class Gauges:
    """Reads the front, the pools and the memory into the metrics' gauges."""

    def __init__(
        self,
        metrics: WorkerMetrics,
        front: FrontContext,
        targets: Collection[Target],
        arena: Arena | None,
    ) -> None:
        self._front = front
        self._targets = targets
        self._arena = arena
        self._connections = metrics.cell("fastproxy_connections")
        self._cut = metrics.cell("fastproxy_connections_cut_total")
        self._cut_before = 0
        self._in_flight = metrics.cell("fastproxy_requests_in_flight")
        self._backend = metrics.family("fastproxy_backend_connections")
        self._slabs = metrics.family("fastproxy_slabs")
        self._spilled = metrics.cell("fastproxy_spilled_bytes")
        self._spilled_total = metrics.cell("fastproxy_spill_written_bytes_total")
        self._spilled_before = 0
        self._paused = metrics.cell("fastproxy_paused_uploads")
        self._peak = metrics.cell("fastproxy_slabs_peak")
        self._oldest = metrics.cell("fastproxy_oldest_paused_upload_seconds")

    def sample(self) -> None:
        """Set all gauges."""
        self._connections.set(len(self._front.connections))
        self._in_flight.set(self._front.in_flight)
        if self._front.clients is not None:
            self._cut.add(self._front.clients.cut - self._cut_before)
            self._cut_before = self._front.clients.cut
        idle = sum(target.pool.idle_count for target in self._targets)
        self._backend["idle"].set(idle)
        self._backend["active"].set(sum(t.pool.open_count for t in self._targets) - idle)
        if self._arena is not None:
            self._sample_memory(self._arena)

    def _sample_memory(self, arena: Arena) -> None:
        stats = arena.stats
        self._slabs["free"].set(stats.slabs_free)
        self._slabs["used"].set(stats.slabs_used)
        self._spilled.set(stats.spilled_now)
        self._spilled_total.add(stats.spilled_total - self._spilled_before)
        self._spilled_before = stats.spilled_total
        self._paused.set(stats.paused)
        self._peak.set(stats.slabs_peak)
        self._oldest.set(stats.oldest_paused)
