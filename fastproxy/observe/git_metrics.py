"""The counters of what git is asked for."""

from contextlib import AbstractContextManager

from fastproxy.observe.catalog import GIT_OPERATIONS, RESULTS
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.observe.outcome import counting


class GitMetrics:
    """Cells of one worker. `processes` are the gauges of those that run and those that wait."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        name = "fastproxy_git_requests_total"
        self._requests = {
            (operation, result): metrics.cell(name, operation, result)
            for operation in GIT_OPERATIONS
            for result in RESULTS
        }
        self.processes = metrics.family("fastproxy_git_processes")

    def counted(self, operation: str) -> AbstractContextManager[None]:
        """Count what is done meanwhile, and how it ends."""
        return counting(lambda result: self._requests[operation, result].add())
