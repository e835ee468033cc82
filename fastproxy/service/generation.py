"""Workers that were started with one configuration."""

import math
from enum import Enum

import fastproxy
from fastproxy.config.schema import Config
from fastproxy.front.client_counts import ClientCounts
from fastproxy.observe.catalog import queue_names, route_names
from fastproxy.observe.metrics import Board
from fastproxy.service.backoff import Backoff


class WorkerState(Enum):
    """As told in fastproxy_workers{state}.

    STARTING -> READY (it said so) -> DRAINING (it was told to end) -> DEAD;
    any -> DEAD (it died) -> STARTING (its slot is filled again).
    """

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"


class WorkerSlot:
    """A place for one worker process after the other. Times are time.monotonic()."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid: int | None = None
        self.state = WorkerState.DEAD
        self.born = 0.0
        self.start_at = 0.0  # when DEAD
        self.backoff = Backoff()


class Generation:
    """`number` counts the loads of the configuration from 1.

    `kill_at` is infinite until the generation is told to end; `ready_by` until it is on trial.
    """

    def __init__(self, number: int, config: Config, workers: int) -> None:
        self.number = number
        self.config = config
        self.board = Board(route_names(config), workers, fastproxy.__version__, queue_names(config))
        self.client_counts = ClientCounts(workers, config.limits.connections)
        self.slots = [WorkerSlot(index) for index in range(workers)]
        self.kill_at = math.inf
        self.ready_by = math.inf
        self._gauges = self.board.master.family("fastproxy_workers")

    @property
    def is_ready(self) -> bool:
        """All workers accept connections."""
        return all(slot.state is WorkerState.READY for slot in self.slots)

    @property
    def is_retiring(self) -> bool:
        """Its workers have been told to end."""
        return self.kill_at < math.inf

    @property
    def pids(self) -> list[int]:
        """Its living processes."""
        return [slot.pid for slot in self.slots if slot.pid is not None]

    @property
    def drain_s(self) -> float:
        """The longest its workers may take to drain."""
        return max(self.config.server.drain, self.config.server.upload_drain)

    def slot_of(self, pid: int) -> WorkerSlot | None:
        """Where a process belongs."""
        return next((slot for slot in self.slots if slot.pid == pid), None)

    def born(self, slot: WorkerSlot, pid: int, now: float) -> None:
        """A process was started in `slot`."""
        slot.pid = pid
        slot.born = now
        self._enter(slot, WorkerState.STARTING)

    def ready(self, slot: WorkerSlot) -> None:
        """The process in `slot` accepts connections."""
        if slot.state is WorkerState.STARTING:
            self._enter(slot, WorkerState.READY)

    def died(self, slot: WorkerSlot) -> None:
        """The process in `slot` is no more; what it held is free."""
        slot.pid = None
        self.board.worker(slot.index).clear_gauges()
        self.client_counts.clear(slot.index)
        self._enter(slot, WorkerState.DEAD)

    def retire(self, kill_at: float) -> None:
        """Its workers are being told to end, and must have by `kill_at`."""
        self.kill_at = min(self.kill_at, kill_at)
        self.ready_by = math.inf
        for slot in self.slots:
            self._enter(slot, WorkerState.DEAD if slot.pid is None else WorkerState.DRAINING)

    def _enter(self, slot: WorkerSlot, state: WorkerState) -> None:
        slot.state = state
        for known in WorkerState:
            self._gauges[known.value].set(sum(other.state is known for other in self.slots))
