"""What a worker process is given: the hinge between the service and the application."""

import socket
from collections.abc import Callable

from msgspec import Struct, field

from fastproxy.config.schema import Config
from fastproxy.front.client_counts import Seat, alone
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.metrics import WorkerMetrics


def _nobody_listens() -> None:
    """Without a master there is nobody to tell."""


class WorkerContext(Struct):
    """One worker's place in the world, made in the worker's own process.

    `listeners` are bound, listening and non-blocking, and shared with other workers. `index` counts
    from 0 within a generation; a worker that died leaves its index to its successor. `generation`
    counts the reloads. `seat` is among its generation's workers. `lifeline` is a descriptor that
    reads EOF when the master is gone, or -1.
    """

    config: Config
    index: int
    generation: int
    listeners: tuple[socket.socket, ...]
    metrics: WorkerMetrics
    access_log: AccessLog
    seat: Seat = field(default_factory=alone)
    lifeline: int = -1
    report_ready: Callable[[], None] = _nobody_listens
