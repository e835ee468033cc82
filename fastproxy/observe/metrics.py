"""Metrics in shared memory: one row of cells for each worker, written by that worker alone.

A `Board` is made before the fork. Every cell is a double, so counting is `cells[i] += n` without
a lock, and whoever has the mapping can add the rows up. A worker that dies leaves its row to its
successor, so counters only grow.
"""

import itertools
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from math import inf

from fastproxy.observe.catalog import (
    CODES,
    DURATION_BUCKETS,
    METHODS,
    METRICS,
    NO_ANSWER,
    OTHER,
    Kind,
    Metric,
)

Series = tuple[str, tuple[str, ...]]  # metric name, label values

_CELL = 8
_ROW_ALIGN = 64 // _CELL  # no two workers write to one cache line


class Layout:
    """Which series lives in which cells. The same for all rows of a board."""

    def __init__(self, dynamic: dict[str, tuple[str, ...]]) -> None:
        """`dynamic` gives the values of the labels that the catalog leaves open."""
        self.first: dict[Series, int] = {}
        self.width: dict[Series, int] = {}
        self.gauges: list[int] = []
        self.maxima: list[int] = []
        end = 0
        for metric in METRICS:
            for values in _label_values(metric, dynamic):
                self.first[metric.name, values] = end
                self.width[metric.name, values] = metric.width
                if metric.kind is Kind.GAUGE:
                    self.gauges.append(end)
                if metric.is_maximum:
                    self.maxima.append(end)
                end += metric.width
        self.cells = -(-end // _ROW_ALIGN) * _ROW_ALIGN


def _label_values(metric: Metric, dynamic: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    return itertools.product(*(label.values or dynamic[label.name] for label in metric.labels))


class Cell:
    """One counter or gauge of one worker."""

    __slots__ = ("_cells", "_index")

    def __init__(self, cells: "memoryview[float]", index: int) -> None:
        self._cells = cells
        self._index = index

    @property
    def value(self) -> float:
        """This row's value, not the sum."""
        return self._cells[self._index]

    def add(self, amount: float = 1) -> None:
        """Count."""
        self._cells[self._index] += amount

    def set(self, value: float) -> None:
        """Set a gauge."""
        self._cells[self._index] = value


class Family(dict[str, Cell]):
    """The cells of a metric with one label, by its value; unknown values count as _OTHER."""

    def __missing__(self, value: str) -> Cell:
        return self[OTHER]


class Histogram:
    """One histogram of one worker."""

    __slots__ = ("_buckets", "_cells", "_first", "_sum")

    def __init__(self, cells: "memoryview[float]", first: int, buckets: tuple[float, ...]) -> None:
        self._cells = cells
        self._buckets = buckets
        self._first = first
        self._sum = first + len(buckets) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        cells = self._cells
        cells[self._first + bisect_left(self._buckets, value)] += 1
        cells[self._sum] += value


_METHOD_OFFSET = {name.encode(): i * len(CODES) for i, name in enumerate(METHODS)}
_OTHER_METHOD = METHODS.index(OTHER) * len(CODES)


def _code_label(status: int) -> str:
    if status == 0:
        return NO_ANSWER
    if str(status) in CODES:
        return str(status)
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


_CODE_OFFSET = array("i", [CODES.index(_code_label(status)) for status in range(1000)])
_DURATIONS = array("d", [*DURATION_BUCKETS, inf])


class RouteRequests:
    """The request counters of one route, for the hot path: three increments a request."""

    __slots__ = ("_bounds", "_cells", "_codes", "_duration", "_requests", "_sum")

    def __init__(self, cells: "memoryview[float]", requests: int, duration: int) -> None:
        self._cells = cells
        self._codes = _CODE_OFFSET
        self._bounds = _DURATIONS
        self._requests = requests
        self._duration = duration
        self._sum = duration + len(DURATION_BUCKETS) + 1

    def count(self, method: bytes, status: int, seconds: float) -> None:
        """One request ended; `status` (0...999) is 0 when there was nobody left to answer."""
        cells = self._cells
        offset = _METHOD_OFFSET.get(method, _OTHER_METHOD)
        cells[self._requests + offset + self._codes[status]] += 1
        bucket = 0
        while self._bounds[bucket] < seconds:
            bucket += 1
        cells[self._duration + bucket] += 1
        cells[self._sum] += seconds


_BY_NAME = {metric.name: metric for metric in METRICS}


class WorkerMetrics:
    """One row. Ask for cells once, at start; use them for ever."""

    def __init__(self, layout: Layout, cells: "memoryview[float]") -> None:
        self._layout = layout
        self._cells = cells
        self.samplers: list[Callable[[], None]] = []  # called twice a second to set gauges

    def cell(self, name: str, *values: str) -> Cell:
        """The cell of a counter or gauge. Raises KeyError for what the catalog does not know."""
        return Cell(self._cells, self._layout.first[name, values])

    def family(self, name: str) -> Family:
        """All cells of a metric with one label."""
        known = [values[0] for found, values in self._layout.first if found == name]
        return Family({value: self.cell(name, value) for value in known})

    def histogram(self, name: str, *values: str) -> Histogram:
        """A histogram. Raises KeyError for what the catalog does not know."""
        return Histogram(self._cells, self._layout.first[name, values], _BY_NAME[name].buckets)

    def requests(self, route: str) -> RouteRequests:
        """The request counters of a route, by its label (see catalog.route_names)."""
        first = self._layout.first
        return RouteRequests(
            self._cells,
            first["fastproxy_requests_total", (route, METHODS[0], CODES[0])],
            first["fastproxy_request_duration_seconds", (route,)],
        )

    def clear_gauges(self) -> None:
        """Forget what a dead worker held; its counters stay."""
        for index in self._layout.gauges:
            self._cells[index] = 0.0


class Board:
    """The rows of one generation of workers, and one for the master, in one shared mapping."""

    def __init__(
        self, routes: Sequence[str], workers: int, version: str, queues: Sequence[str] = ()
    ) -> None:
        labels = {"route": tuple(routes), "version": (version,), "queue": tuple(queues)}
        self.layout = Layout(labels)
        self._workers = workers
        size = self.layout.cells * (workers + 1) * _CELL
        self._cells = memoryview(mmap.mmap(-1, size)).cast("B").cast("d")
        self.master.cell("fastproxy_build_info", version).set(1)

    @property
    def master(self) -> WorkerMetrics:
        """The master's own row."""
        return WorkerMetrics(self.layout, self._row(self._workers))

    def worker(self, index: int) -> WorkerMetrics:
        """The row of worker `index`, counted from 0."""
        return WorkerMetrics(self.layout, self._row(index))

    def totals(self) -> dict[Series, list[float]]:
        """Every series' cells, added over all rows; of maxima, the largest."""
        rows = [self._row(i).tolist() for i in range(self._workers + 1)]
        cells = [sum(column) for column in zip(*rows, strict=True)]
        for index in self.layout.maxima:
            cells[index] = max(row[index] for row in rows)
        width = self.layout.width
        return {series: cells[at : at + width[series]] for series, at in self.layout.first.items()}

    def inherit(self, older: "Board") -> None:
        """Add the counters of a board whose workers are all gone; lost routes are left behind."""
        row = self._row(self._workers)
        gauges = set(self.layout.gauges)
        for series, values in older.totals().items():
            first = self.layout.first.get(series)
            if first is None or first in gauges:
                continue
            for offset, value in enumerate(values):
                row[first + offset] += value

    def _row(self, index: int) -> "memoryview[float]":
        size = self.layout.cells
        return self._cells[index * size : (index + 1) * size]
