"""Every metric as data: name, kind, help, labels. docs/metrics.md is tested against this table.

Label values are bounded and known at start, so that a client can never create a series.
"""

from enum import Enum

from msgspec import Struct

from fastproxy import errors
from fastproxy.config.schema import Config

OTHER = "_OTHER"  # OpenTelemetry's name for a value outside the known set
NO_ROUTE = "_none"  # requests that no route took

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
_EXACT_CODES = (
    *("101", "200", "201", "202", "204", "206", "301", "302", "303", "304", "307", "308"),
    *("400", "401", "403", "404", "405", "408", "409", "410", "411", "412", "413", "414"),
    *("415", "416", "417", "422", "428", "429", "431", "499"),
    *("500", "501", "502", "503", "504", "507"),
)
NO_ANSWER = "none"  # the client left before there was a status
CODES = (*_EXACT_CODES, "1xx", "2xx", "3xx", "4xx", "5xx", OTHER, NO_ANSWER)

# OpenTelemetry's http.server.request.duration, then three for uploads.
DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0, 300.0),
)
WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


def _kinds(base: type[errors.FastproxyError]) -> tuple[str, ...]:
    named = (c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, base))
    return (*sorted({c.kind for c in named}), OTHER)


class Kind(Enum):
    """Prometheus' types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Label(Struct, frozen=True):
    """`values` empty: they come from the configuration."""

    name: str
    values: tuple[str, ...] = ()


class Metric(Struct, frozen=True):
    """`sparse`: series that are still zero are left out, their number would be large."""

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    sparse: bool = False
    is_maximum: bool = False  # over workers; all else is a sum

    @property
    def width(self) -> int:
        """Cells of one series: a histogram has its buckets, +Inf and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def _counter(name: str, text: str, *labels: Label, sparse: bool = False) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, sparse=sparse)


def _gauge(name: str, text: str, *labels: Label) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels)


def _maximum(name: str, text: str) -> Metric:
    return Metric(name, Kind.GAUGE, text, is_maximum=True)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: Label) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, buckets)


ROUTE = Label("route")
QUEUE = Label("queue")
GIT_OPERATIONS = ("fetch", "push", "send")
RESULTS = ("ok", *(side.value for side in errors.Side))
ORDERS = ("file", "location", "object", "url", "send-url", "other")
VERSION = Label("version")

METRICS: tuple[Metric, ...] = (
    _counter(
        "fastproxy_requests_total",
        "Requests answered or given up.",
        ROUTE,
        Label("method", METHODS),
        Label("code", CODES),
        sparse=True,
    ),
    _histogram(
        "fastproxy_request_duration_seconds",
        "From the first byte of the head to the last byte of the answer.",
        DURATION_BUCKETS,
        ROUTE,
    ),
    _gauge("fastproxy_requests_in_flight", "Requests between head and end."),
    _gauge("fastproxy_connections", "Client connections open now."),
    _counter(
        "fastproxy_connections_cut_total",
        "Connections closed unanswered: their client had twice as many as it may have.",
    ),
    _gauge(
        "fastproxy_backend_connections",
        "Connections to backends.",
        Label("state", ("active", "idle")),
    ),
    _counter(
        "fastproxy_backend_errors_total",
        "Failures of a backend.",
        Label("kind", _kinds(errors.BackendFault)),
    ),
    _counter(
        "fastproxy_rejected_total",
        "Requests answered with an error of our own, by kind of error.",
        Label("reason", _kinds(errors.FastproxyError)),
        sparse=True,
    ),
    _counter("fastproxy_uploads_started_total", "Uploads that a backend permitted."),
    _counter(
        "fastproxy_uploads_finished_total",
        "Uploads that ended: stored, or whose fault it was.",
        Label("result", ("stored", *(side.value for side in errors.Side))),
    ),
    _counter("fastproxy_upload_bytes_total", "Body bytes of uploads received."),
    _counter(
        "fastproxy_upload_parts_total",
        "Parts of finished uploads in their store, and requests to stores that were repeated.",
        Label("result", ("stored", "retried")),
    ),
    _gauge("fastproxy_queue_running", "Requests of a route with a queue being served.", QUEUE),
    _gauge("fastproxy_queue_waiting", "Requests that wait for their turn.", QUEUE),
    _histogram(
        "fastproxy_queue_wait_seconds",
        "How long requests waited whose turn came, those at once included.",
        WAIT_BUCKETS,
        QUEUE,
    ),
    _counter(
        "fastproxy_queue_lost_total",
        "Requests whose turn did not come: no place, too late, or the client left.",
        QUEUE,
        Label("reason", ("full", "late", "left")),
    ),
    _gauge("fastproxy_channels_open", "WebSockets open that a backend permitted."),
    _counter(
        "fastproxy_channels_total",
        "Channels that ended, by who or what ended them.",
        Label(
            "end",
            (
                *("refused", "failed", "client", "backend", "revoked", "unconfirmed", "session"),
                *("idle", "garbled", "drained", OTHER),
            ),
        ),
    ),
    _gauge("fastproxy_polls_waiting", "Requests that are held until something changes."),
    _gauge("fastproxy_polls_keys", "Keys whose changes are followed."),
    _counter(
        "fastproxy_polls_total",
        "Requests to routes with polls, by how their holding ended.",
        Label(
            "end", ("unheld", "stale", "changed", "timeout", "unwatched", "left", "drained", OTHER)
        ),
    ),
    _gauge("fastproxy_redis_connected", "Workers that hear from Redis."),
    _counter("fastproxy_redis_losses_total", "Connections to Redis that were lost."),
    _counter("fastproxy_redis_messages_total", "Changes that Redis announced."),
    _counter("fastproxy_orphans_aborted_total", "Multipart uploads of a former life aborted."),
    _gauge("fastproxy_slabs", "Pieces of upload memory.", Label("state", ("free", "used"))),
    _gauge("fastproxy_spilled_bytes", "Upload bytes that wait on disk."),
    _gauge("fastproxy_slabs_peak", "Most pieces of upload memory that each worker ever used."),
    _counter(
        "fastproxy_spill_written_bytes_total", "Upload bytes ever written to the spill files."
    ),
    _gauge("fastproxy_paused_uploads", "Uploads whose socket is not read for want of memory."),
    _maximum(
        "fastproxy_oldest_paused_upload_seconds",
        "Age of the oldest upload that waits for memory, of all workers.",
    ),
    _counter(
        "fastproxy_git_requests_total",
        "Requests that git itself was to answer, and whose fault it was if it did not.",
        Label("operation", GIT_OPERATIONS),
        Label("result", RESULTS),
    ),
    _counter(
        "fastproxy_orders_total",
        "Orders of backends to send something in their place, and whose fault it was if not.",
        Label("kind", ORDERS),
        Label("result", RESULTS),
    ),
    _gauge(
        "fastproxy_git_processes",
        "Programs of git's that run, and requests that wait for their turn.",
        Label("state", ("running", "waiting")),
    ),
    _histogram(
        "fastproxy_loop_lag_seconds", "How late a worker's event loop runs a timer.", LAG_BUCKETS
    ),
    _gauge("fastproxy_worker_rss_bytes", "Resident memory of all workers."),
    _counter("fastproxy_access_log_dropped_total", "Lines lost because the log did not take them."),
    _gauge(
        "fastproxy_workers",
        "Workers, also those of older generations that still drain.",
        Label("state", ("starting", "ready", "draining", "dead")),
    ),
    _counter("fastproxy_worker_deaths_total", "Workers that ended without being told to."),
    _counter(
        "fastproxy_config_reloads_total", "Reloads asked for.", Label("result", ("ok", "failed"))
    ),
    _gauge(
        "fastproxy_config_last_reload_success_timestamp_seconds",
        "When the running configuration was loaded (Unix time).",
    ),
    _gauge("fastproxy_build_info", "1, with the version as label.", VERSION),
)


def route_names(config: Config) -> tuple[str, ...]:
    """The values of the `route` label, without repetition."""
    names = (route.name or route.path for route in config.route)
    return tuple(dict.fromkeys((*names, NO_ROUTE)))


def queue_names(config: Config) -> tuple[str, ...]:
    """The values of the `queue` label: names of routes that have one."""
    queued = (route for route in config.route if route.queue is not None)
    return tuple(dict.fromkeys(route.name or route.path for route in queued))
