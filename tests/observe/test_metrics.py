import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy import errors
from fastproxy.config.schema import Config, FixedRoute
from fastproxy.observe.catalog import CODES, METHODS, METRICS, NO_ROUTE, OTHER, Kind, route_names
from fastproxy.observe.exposition import expose
from fastproxy.observe.metrics import Board, Layout


def board(workers: int = 2, routes: tuple[str, ...] = ("api", NO_ROUTE)) -> Board:
    return Board(routes, workers, "1.2.3")


def requests(of: Board, route: str, method: str, code: str) -> float:
    return of.totals()["fastproxy_requests_total", (route, method, code)][0]


def test_rows_are_added_up() -> None:
    made = board(3)
    for index in range(3):
        made.worker(index).cell("fastproxy_connections").set(index + 1)
        made.worker(index).requests("api").count(b"GET", 200, 0.01)
    assert made.totals()["fastproxy_connections", ()] == [6]
    assert requests(made, "api", "GET", "200") == 3


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        (b"GET", 200, ("GET", "200")),
        (b"BREW", 200, (OTHER, "200")),
        (b"get", 404, (OTHER, "404")),
        (b"HEAD", 418, ("HEAD", "4xx")),
        (b"GET", 999, ("GET", OTHER)),
        (b"GET", 0, ("GET", "none")),
        (b"OPTIONS", 100, ("OPTIONS", "1xx")),
    ],
)
def test_methods_and_codes_are_a_bounded_set(
    method: bytes, status: int, labels: tuple[str, str]
) -> None:
    made = board()
    made.worker(0).requests("api").count(method, status, 0.0)
    counted = {
        series[1]: cells[0]
        for series, cells in made.totals().items()
        if series[0] == "fastproxy_requests_total" and cells[0]
    }
    assert counted == {("api", *labels): 1}


@given(st.lists(st.tuples(st.sampled_from(METHODS), st.integers(0, 999), st.floats(0, 1e4))))
def test_no_request_is_lost_or_counted_for_another_route(
    seen: list[tuple[str, int, float]],
) -> None:
    made = board(1, ("before", "api", "after"))
    counter = made.worker(0).requests("api")
    for method, status, seconds in seen:
        counter.count(method.encode(), status, seconds)
    totals = made.totals()
    by_route = {"before": 0.0, "api": 0.0, "after": 0.0}
    for (name, values), cells in totals.items():
        if name == "fastproxy_requests_total":
            by_route[values[0]] += cells[0]
    assert by_route == {"before": 0, "api": len(seen), "after": 0}
    duration = totals["fastproxy_request_duration_seconds", ("api",)]
    assert sum(duration[:-1]) == len(seen)
    assert duration[-1] == pytest.approx(sum(seconds for *_, seconds in seen))
    assert not any(totals["fastproxy_request_duration_seconds", ("after",)])


def test_a_value_on_a_bound_belongs_to_that_bucket() -> None:
    made = board()
    histogram = made.worker(0).histogram("fastproxy_loop_lag_seconds")
    for value in (0.001, 0.0011, 99.0):
        histogram.observe(value)
    cells = made.totals()["fastproxy_loop_lag_seconds", ()]
    assert cells[:2] == [1, 1]
    assert cells[-2:] == [1, pytest.approx(99.0021)]


def test_unknown_kinds_count_as_other() -> None:
    made = board()
    family = made.worker(0).family("fastproxy_rejected_total")
    family["no-such-kind"].add()
    family["bad-head"].add(2)
    assert family[OTHER].value == 1
    assert made.totals()["fastproxy_rejected_total", ("bad-head",)] == [2]


def test_every_error_we_name_has_its_label() -> None:
    family = board().worker(0).family("fastproxy_rejected_total")
    kinds = {
        error.kind
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.FastproxyError)
    }
    assert kinds <= family.keys()


def test_a_metric_that_is_not_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        board().worker(0).cell("fastproxy_no_such_metric")


def test_a_dead_worker_leaves_its_counters_and_no_gauges() -> None:
    made = board()
    row = made.worker(0)
    row.cell("fastproxy_connections").set(7)
    row.requests("api").count(b"GET", 200, 0.01)
    row.clear_gauges()
    assert made.totals()["fastproxy_connections", ()] == [0]
    assert requests(made, "api", "GET", "200") == 1


def test_a_new_board_inherits_counters_and_histograms_but_no_gauges_or_lost_routes() -> None:
    old, new = board(2, ("lost", "api")), board(1, ("api", "fresh"))
    old.worker(0).requests("api").count(b"GET", 200, 0.01)
    old.worker(1).requests("lost").count(b"GET", 200, 0.01)
    old.worker(1).cell("fastproxy_connections").set(3)
    new.inherit(old)
    totals = new.totals()
    assert requests(new, "api", "GET", "200") == 1
    assert sum(totals["fastproxy_request_duration_seconds", ("api",)][:-1]) == 1
    assert totals["fastproxy_connections", ()] == [0]
    assert totals["fastproxy_build_info", ("1.2.3",)] == [1]


def test_no_two_series_share_a_cell_and_rows_share_no_cache_line() -> None:
    layout = Layout({"route": ("a", "b"), "version": ("1",), "queue": ("a",)})
    cells = [at + i for series, at in layout.first.items() for i in range(layout.width[series])]
    assert sorted(cells) == list(range(len(cells)))
    assert layout.cells * 8 % 64 == 0


def test_route_labels_are_names_or_paths_once_each() -> None:
    config = Config(
        route=(FixedRoute(name="a"), FixedRoute(path="/x/*"), FixedRoute(name="a", path="/y"))
    )
    assert route_names(config) == ("a", "/x/*", NO_ROUTE)


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS:
        assert metric.name.startswith("fastproxy_")
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
    assert len(set(CODES)) == len(CODES)


def test_a_maximum_is_the_largest_of_all_workers_and_boards() -> None:
    name = "fastproxy_oldest_paused_upload_seconds"
    older, newer = board(), board()
    for made, ages in ((older, (7.0, 3.0)), (newer, (2.0, 5.0))):
        for index, age in enumerate(ages):
            made.worker(index).cell(name).set(age)
    assert newer.totals()[name, ()] == [5.0]
    assert b"\n%b 7\n" % name.encode() in expose([newer, older])
