"""The counters of answers that were taken over."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastproxy.errors import FastproxyError, Side
from fastproxy.observe.catalog import ORDER_RESULTS, ORDERS
from fastproxy.observe.metrics import WorkerMetrics


class TakeoverMetrics:
    """Cells of one worker."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._orders = {
            (kind, result): metrics.cell("fastproxy_orders_total", kind, result)
            for kind in ORDERS
            for result in ORDER_RESULTS
        }

    @contextmanager
    def counted(self, kind: str) -> Iterator[None]:
        """Count an order that is carried out meanwhile. A cancelled one lost its client."""
        result = "ok"
        try:
            yield
        except BaseException as error:
            result = (error.side if isinstance(error, FastproxyError) else Side.CLIENT).value
            raise
        finally:
            self._orders[kind if kind in ORDERS else "other", result].add()
