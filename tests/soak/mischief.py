"""What goes wrong, and when: faults of the store, reloads, killed workers."""

import os
import random
import signal
import threading
import time
from contextlib import suppress

from tests.soak.town import Town
from tests.soak.visitors import Cut
from tests.support.fault_proxy import Act, Fault, refusal

_RELOAD_S = 5.0
_KILL_S = 12.0
_STORE_S = 0.5
_EXCUSES_S = 5.0  # how long after a kill or a reload somebody may notice


class Mischief(threading.Thread):
    """Does it until told to stop. `reloads` and `kills` are switched on by the acts."""

    def __init__(self, town: Town) -> None:
        super().__init__(daemon=True)
        self._town = town
        self._ending = threading.Event()
        self.is_resting = False
        self.reloads = False
        self.kills = False
        self.reloaded_at: list[float] = []
        self.killed_at: list[float] = []
        self.faults = 0

    def run(self) -> None:
        now = time.monotonic()
        store = reload = kill = now
        while not self._ending.wait(0.1):
            now = time.monotonic()
            if self.is_resting:
                self._town.store.expect()
                continue
            if now - store > _STORE_S:
                store = now
                self._trouble_store()
            if self.reloads and now - reload > _RELOAD_S:
                reload = now
                self._reload()
            if self.kills and now - kill > _KILL_S:
                kill = now
                self._kill()
        self._town.store.expect()

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def may_be_cut(self, cut: Cut, now: float) -> bool:
        """Was there a reason for it?"""
        if any(now - _EXCUSES_S < at for at in self.killed_at):
            return True
        # RFC 9112 section 9.5: a kept connection may close as the next request is sent.
        return not cut.was_fresh and any(now - _EXCUSES_S < at for at in self.reloaded_at)

    def _trouble_store(self) -> None:
        """One of the store's next requests fails, in one of the ways a store has."""
        when = random.choice((b"PUT /", b"POST /", b"partNumber=", b"uploadId="))
        fault = random.choice(
            (
                Fault(when, Act.RESET, after=random.randrange(300)),
                Fault(when, Act.DELAY, after=random.randrange(300), seconds=0.3),
                Fault(when, Act.ANSWER, answer=refusal(503, "SlowDown")),
                Fault(when, Act.ANSWER, answer=refusal(500, "InternalError")),
            )
        )
        self.faults += sum(fault.met for fault in self._town.store.faults)
        self._town.store.expect(fault)

    def _reload(self) -> None:
        self.reloaded_at.append(time.monotonic())
        os.kill(self._town.site.pid, signal.SIGHUP)

    def _kill(self) -> None:
        self.killed_at.append(time.monotonic())
        with suppress(ProcessLookupError, IndexError):
            os.kill(random.choice(self._town.site.workers), signal.SIGKILL)
