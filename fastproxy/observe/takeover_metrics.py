"""The counters of answers that were taken over."""

from contextlib import AbstractContextManager

from fastproxy.observe.catalog import ORDERS, RESULTS
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.observe.outcome import counting


class TakeoverMetrics:
    """Cells of one worker."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._orders = {
            (kind, result): metrics.cell("fastproxy_orders_total", kind, result)
            for kind in ORDERS
            for result in RESULTS
        }

    def counted(self, kind: str) -> AbstractContextManager[None]:
        """Count an order that is carried out meanwhile, and how it ends."""
        known = kind if kind in ORDERS else "other"
        return counting(lambda result: self._orders[known, result].add())
