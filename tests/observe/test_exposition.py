import math
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fastproxy.observe.catalog import METRICS, Kind
from fastproxy.observe.exposition import expose
from fastproxy.observe.metrics import Board

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def parsed(*boards: Board) -> dict[str, Metric]:
    text = expose(boards).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def board(*routes: str) -> Board:
    return Board(routes or ("api",), 2, "1.2.3", ("api",))


def test_prometheus_reads_every_metric_with_type_and_help() -> None:
    made = board()
    families = parsed(made)
    assert len(families) == len(METRICS)
    for metric in METRICS:
        # prometheus_client names a counter's family without its suffix
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind.value
        assert family.documentation == metric.help


def test_buckets_are_cumulative_and_end_with_the_count() -> None:
    made = board()
    for seconds in (0.001, 0.02, 0.02, 1000.0):
        made.worker(0).requests("api").count(b"GET", 200, seconds)
    samples = parsed(made)["fastproxy_request_duration_seconds"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    values = list(buckets.values())
    assert values == sorted(values)
    assert (buckets["0.005"], buckets["0.025"], buckets["300"], buckets["+Inf"]) == (1, 3, 3, 4)
    (count,) = (s.value for s in samples if s.name.endswith("_count"))
    (total,) = (s.value for s in samples if s.name.endswith("_sum"))
    assert count == 4
    assert math.isclose(total, 1000.041)


def test_boards_of_several_generations_are_added_up() -> None:
    old, new = board("api", "lost"), board("api")
    old.worker(0).requests("api").count(b"GET", 200, 0.1)
    old.worker(0).requests("lost").count(b"GET", 200, 0.1)
    new.worker(1).requests("api").count(b"GET", 200, 0.1)
    samples = parsed(new, old)["fastproxy_requests"].samples
    assert {s.labels["route"]: s.value for s in samples} == {"api": 2, "lost": 1}


def test_route_names_of_any_kind_are_escaped() -> None:
    name = 'a"b\\c\nd é'
    made = board(name)
    made.worker(0).requests(name).count(b"GET", 200, 0.1)
    (sample,) = parsed(made)["fastproxy_requests"].samples
    assert sample.labels["route"] == name


def test_series_that_could_be_many_appear_when_they_count() -> None:
    assert parsed(board())["fastproxy_requests"].samples == []
    assert parsed(board())["fastproxy_uploads_started"].samples[0].value == 0


def test_the_document_lists_exactly_what_is_exposed() -> None:
    rows = [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| `fastproxy_")
    ]
    assert rows == [
        (
            metric.name,
            metric.kind.value,
            ", ".join(label.name for label in metric.labels),
            metric.help,
        )
        for metric in METRICS
    ]


def test_the_document_names_the_buckets() -> None:
    text = DOCUMENT.read_text()
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            assert ", ".join(f"{bound:g}" for bound in metric.buckets) in text
