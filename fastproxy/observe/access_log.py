"""The access log: one JSON line a request, written in batches.

A line holds no query string and no header, so no token and no presigned URL can be in it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from fastproxy.observe.metrics import Cell
from fastproxy.observe.sinks import Sink, open_fd, open_path

FLUSH_BYTES = 32 << 10
FLUSH_SECONDS = 0.1
MAX_PENDING_BYTES = 1 << 20  # kept for a reader that is slow; what comes beyond is dropped

STDOUT = 1

encode_json = msgspec.json.Encoder().encode  # a sixth of what a dict through orjson costs


class RequestRecord(msgspec.Struct, gc=False):
    """What is told about one request. Sizes in bytes, `_s` in seconds; `path` has no query.

    `status` 0: no answer was sent. `end`: "ok", "client", "backend", "storage", "ours" (whose
    fault) or "upgrade". `error_kind`: the kind of a FastproxyError or "".
    """

    time: datetime
    request_id: str
    remote_ip: str
    method: str
    host: str
    path: str
    route: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    duration_s: float = 0.0
    backend_s: float = 0.0
    upload_bytes: int = 0
    parts: int = 0
    retries: int = 0
    end: str = "ok"
    error_kind: str = ""


def begin_record(
    request_id: str, remote_ip: str, method: bytes, target: bytes, host: bytes
) -> RequestRecord:
    """The record of a request that begins now.

    `target` is as it came: its query, which may hold a token, is cut off here, and bytes that
    are not UTF-8 become escapes.
    """
    return RequestRecord(
        datetime.now(UTC),
        request_id,
        remote_ip,
        method.decode("utf-8", "backslashreplace"),
        host.decode("utf-8", "backslashreplace"),
        target.partition(b"?")[0].decode("utf-8", "backslashreplace"),
    )


class AccessLog:
    """Lines of one process. Use it on the thread of its event loop.

    `target` is "-" (standard output), "off" or a path; raises OSError when it cannot be opened.
    `dropped` counts lines that were lost because the disk or the reader did not take them.
    """

    def __init__(self, target: str, dropped: Cell) -> None:
        self._target = target
        self._dropped = dropped
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self.sources: list[Callable[[], bytes]] = []  # whole lines that wait elsewhere
        self._open = _opener(target)
        self._sink = self._open() if self._open else None

    @property
    def enabled(self) -> bool:
        """False: records need not be made."""
        return self._sink is not None

    def write(self, record: RequestRecord) -> None:
        """Take one request into the log; needs a running event loop."""
        if self._sink is None:
            return
        before = self._size
        for source in self.sources:  # what ended earlier stands earlier
            self._keep(source())
        self._keep(_encode(record))
        self.wake()
        # Only on crossing the mark: a stuck reader must not cost an attempt for every line.
        if before < FLUSH_BYTES <= self._size:
            self.flush()

    def wake(self) -> None:
        """A line waits: flush before long. Needs a running event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._on_timer)

    def flush(self) -> None:
        """Hand over what the sink takes now; the rest stays for the next time."""
        for source in self.sources:
            self._take_over(source())
        while self._lines and self._sink is not None:
            batch, count = self._take(self._sink.burst)
            try:
                taken = self._sink.write(batch)
            except OSError:  # disk full, reader gone
                self._dropped.add(count)
                continue
            if taken < len(batch):
                self._put_back(batch[taken:])
                return

    def _take_over(self, block: bytes) -> None:
        """Whole lines, which a file takes as they are."""
        sink = self._sink
        if sink is None:
            return
        if block and not self._lines and len(block) <= sink.burst:
            with contextlib.suppress(OSError):  # met again, and counted, with the lines
                block = block[sink.write(block) :]
        self._keep(block)

    def _keep(self, block: bytes) -> None:
        """Whole lines, until they are flushed."""
        if self._size >= MAX_PENDING_BYTES:
            self._dropped.add(block.count(b"\n"))
            return
        self._lines.extend(block.splitlines(keepends=True))
        self._size += len(block)

    def reopen(self) -> None:
        """Follow a log rotation. Keeps the old file when the new one cannot be opened."""
        if self._sink is None or self._open is None or self._target == "-":
            return
        self.flush()
        fresh = self._open()
        self._sink.close()
        self._sink = fresh

    def close(self) -> None:
        """Write what can be written and let go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        self._dropped.add(len(self._lines))
        self._lines.clear()
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
        if self._lines:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._on_timer)

    def _take(self, burst: int) -> tuple[bytes, int]:
        """Whole lines up to `burst` bytes, at least one, and their number."""
        lines = self._lines
        batch = [lines.popleft()]
        size = len(batch[0])
        while lines and size + len(lines[0]) <= burst:
            size += len(lines[0])
            batch.append(lines.popleft())
        self._size -= size
        return b"".join(batch), len(batch)

    def _put_back(self, rest: bytes) -> None:
        self._lines.extendleft(reversed(rest.splitlines(keepends=True)))
        self._size += len(rest)


def _opener(target: str) -> Callable[[], Sink] | None:
    if target == "off":
        return None
    return (lambda: open_fd(STDOUT)) if target == "-" else (lambda: open_path(target))


def _encode(record: RequestRecord) -> bytes:
    # Times are known to the microsecond; round() costs five times as much.
    record.duration_s = int(record.duration_s * 1e6) / 1e6
    record.backend_s = int(record.backend_s * 1e6) / 1e6
    return encode_json(record) + b"\n"
