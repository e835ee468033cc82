"""Boards as text: Prometheus' exposition format 0.0.4."""

import itertools
import operator
from collections.abc import Iterator, Sequence

from fastproxy.observe.catalog import METRICS, Kind, Metric
from fastproxy.observe.metrics import Board, Series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MAXIMA = frozenset(metric.name for metric in METRICS if metric.is_maximum)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def expose(boards: Sequence[Board]) -> bytes:
    """All metrics, added over the boards; the first is the current one."""
    merged: dict[Series, list[float]] = {}
    for board in boards:
        for series, cells in board.totals().items():
            known = merged.get(series)
            add = max if series[0] in _MAXIMA else operator.add
            merged[series] = [*map(add, known, cells)] if known else cells
    by_name: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
    for (name, values), cells in merged.items():
        by_name.setdefault(name, []).append((values, cells))
    lines = (line for metric in METRICS for line in _lines(metric, by_name.get(metric.name, [])))
    return ("\n".join(lines) + "\n").encode()


def _lines(metric: Metric, series: list[tuple[tuple[str, ...], list[float]]]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind.value}"
    for values, cells in series:
        labels = [
            f'{label.name}="{value.translate(_ESCAPES)}"'
            for label, value in zip(metric.labels, values, strict=True)
        ]
        if metric.kind is Kind.HISTOGRAM:
            yield from _histogram_lines(metric, labels, cells)
        elif cells[0] or not metric.sparse:
            yield f"{metric.name}{_braces(labels)} {_number(cells[0])}"


def _histogram_lines(metric: Metric, labels: list[str], cells: list[float]) -> Iterator[str]:
    bounds = (*(_number(bound) for bound in metric.buckets), "+Inf")
    running = list(itertools.accumulate(cells[:-1]))
    for bound, count in zip(bounds, running, strict=True):
        le = f'le="{bound}"'
        yield f"{metric.name}_bucket{_braces([*labels, le])} {_number(count)}"
    yield f"{metric.name}_sum{_braces(labels)} {_number(cells[-1])}"
    yield f"{metric.name}_count{_braces(labels)} {_number(running[-1])}"


def _braces(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
