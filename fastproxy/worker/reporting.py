"""What remains of a request: one log line and its counts."""

import logging
import time

from fastproxy.errors import BackendFault, FastproxyError, Side
from fastproxy.exchange import Exchange
from fastproxy.observe.access_log import RequestRecord, begin_record
from fastproxy.observe.catalog import NO_ROUTE, route_names
from fastproxy.observe.metrics import RouteRequests
from fastproxy.worker.context import WorkerContext

log = logging.getLogger("fastproxy")


class Reports:
    """The Reporter of a worker."""

    def __init__(self, context: WorkerContext) -> None:
        metrics = context.metrics
        names = route_names(context.config)
        self._access_log = context.access_log
        self._by_route: dict[str, RouteRequests] = {name: metrics.requests(name) for name in names}
        self._rejected = metrics.family("fastproxy_rejected_total")
        self._backend_errors = metrics.family("fastproxy_backend_errors_total")

    def report(self, exchange: Exchange) -> None:
        """See Reporter."""
        duration_s = time.monotonic() - exchange.started_at
        route = exchange.route_name or NO_ROUTE
        self._by_route[route].count(exchange.head.method, exchange.status, duration_s)
        fault = exchange.fault
        if fault is not None:
            self._count_fault(exchange, fault)
        if self._access_log.enabled:
            self._access_log.write(_record(exchange, route, duration_s))

    def _count_fault(self, exchange: Exchange, fault: FastproxyError) -> None:
        self._rejected[fault.kind].add()
        if isinstance(fault, BackendFault):
            self._backend_errors[fault.kind].add()
        level = logging.INFO if fault.side is Side.CLIENT else logging.WARNING
        log.log(
            level,
            "%s: %s",
            fault.kind,
            fault.detail,
            extra={
                "request_id": exchange.request_id,
                "side": fault.side.value,
                "retry": fault.retry.value,
                "route": exchange.route_name,
            },
        )


def _record(exchange: Exchange, route: str, duration_s: float) -> RequestRecord:
    head, fault = exchange.head, exchange.fault
    record = begin_record(
        exchange.request_id, exchange.remote_ip, head.method, head.target, head.host
    )
    record.route = route
    record.status = exchange.status
    record.bytes_in = exchange.body_bytes
    record.bytes_out = exchange.sent_bytes
    record.duration_s = duration_s
    record.backend_s = exchange.backend_s
    record.upload_bytes = exchange.upload_bytes
    record.parts = exchange.parts
    record.retries = exchange.retries
    if fault is not None:
        record.end = fault.side.value
        record.error_kind = fault.kind
    elif exchange.was_upgraded:
        record.end = "upgrade"
    return record
