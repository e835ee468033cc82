"""The counters of what git is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastproxy.errors import FastproxyError, Side
from fastproxy.observe.catalog import GIT_DEEDS, GIT_RESULTS
from fastproxy.observe.metrics import WorkerMetrics


class GitMetrics:
    """Cells of one worker. `processes` are the gauges of those that run and those that wait."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        name = "fastproxy_git_requests_total"
        self._requests = {
            (deed, result): metrics.cell(name, deed, result)
            for deed in GIT_DEEDS
            for result in GIT_RESULTS
        }
        self.processes = metrics.family("fastproxy_git_processes")

    @contextmanager
    def counted(self, deed: str) -> Iterator[None]:
        """Count what is done meanwhile, and how it ends. A cancelled one lost its client."""
        result = "ok"
        try:
            yield
        except BaseException as error:
            result = (error.side if isinstance(error, FastproxyError) else Side.CLIENT).value
            raise
        finally:
            self._requests[deed, result].add()
