"""The master's care for the admin process."""

import logging
import math
import os
import signal
import time
from collections.abc import Callable

from fastproxy.service.backoff import MAX_S, Backoff

log = logging.getLogger(__name__)


class AdminKeeper:
    """Keeps one admin process alive. `start` forks it and gives its pid, or raises OSError.

    A process sees the shared memory that existed when it was forked, so `replace` it when the
    boards have changed.
    """

    def __init__(self, start: Callable[[], int]) -> None:
        self._start = start
        self._pid: int | None = None
        self._born = 0.0
        self._backoff = Backoff()
        self.start_at = math.inf  # time.monotonic() of the next attempt

    def replace(self, *, wanted: bool) -> None:
        """End the process there is; start another when one is `wanted`."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGQUIT)  # reaped as a pid that nobody knows
            self._pid = None
        self.start_at = math.inf
        if wanted:
            self._launch()

    def keep(self, now: float) -> None:
        """Start it again when it is time."""
        if self.start_at <= now:
            self._launch()

    def reaped(self, pid: int) -> bool:
        """Whether the dead child was the admin process."""
        if pid != self._pid:
            return False
        self._pid = None
        now = time.monotonic()
        self.start_at = now + self._backoff.delay(now - self._born)
        log.error("the admin process died", extra={"admin_pid": pid})
        return True

    def end(self) -> None:
        """Kill it: it has nothing to lose."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None

    def _launch(self) -> None:
        self._born = time.monotonic()
        self.start_at = math.inf
        try:
            self._pid = self._start()
        except OSError as error:
            log.error("cannot start the admin process: %s", error)
            self.start_at = self._born + MAX_S
