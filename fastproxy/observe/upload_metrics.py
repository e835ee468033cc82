"""The counters of uploads."""

from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.observe.outcome import side_of


class UploadMetrics:
    """Cells of one worker."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self.started = metrics.cell("fastproxy_uploads_started_total")
        self._finished = metrics.family("fastproxy_uploads_finished_total")
        self._bytes = metrics.cell("fastproxy_upload_bytes_total")
        self._parts = metrics.family("fastproxy_upload_parts_total")

    def count_retry(self) -> None:
        """A request to a store is repeated."""
        self._parts["retried"].add()

    def count_stored(self, size: int, parts: int) -> None:
        """An upload is in its store."""
        self._finished["stored"].add()
        self._bytes.add(size)
        self._parts["stored"].add(parts)

    def count_failure(self, error: BaseException) -> None:
        """An upload ended otherwise."""
        self._finished[side_of(error).value].add()
