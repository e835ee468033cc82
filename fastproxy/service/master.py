"""The master: a small synchronous process that owns listeners and keeps workers alive.

It has no event loop and no thread, so it may fork at any time. Signals and reports from workers
wake it; everything else is a deadline.
"""

import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from enum import Enum

from fastproxy.config.schema import Config
from fastproxy.git.orphans import Orphans, adopt
from fastproxy.observe import error_log
from fastproxy.service import notify
from fastproxy.service.admin_keeper import AdminKeeper
from fastproxy.service.backoff import MAX_S, DeathRate
from fastproxy.service.generation import Generation, WorkerSlot, WorkerState
from fastproxy.service.launcher import Launcher, WorkerMain
from fastproxy.service.listeners import Listeners, inherited_sockets
from fastproxy.service.signals import SignalInbox
from fastproxy.service.worker import run_worker

log = logging.getLogger(__name__)

READY_S = 60.0  # a new generation must be ready by then, or the reload has failed
SLACK_S = 5.0  # after the longest drain, before SIGKILL
STOP_S = 2.0  # after SIGINT, before SIGKILL
KILL_AGAIN_S = 1.0
MAX_RETIRING = 8  # generations that may still drain; each holds memory
_LONGEST_WAIT_S = 3600.0


class Phase(Enum):
    """STARTING -> RUNNING <-> RELOADING; from each -> DRAINING -> STOPPING."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
    DRAINING = "draining"
    STOPPING = "stopping"


_ENDING = (Phase.DRAINING, Phase.STOPPING)


def run_master(load: Callable[[], Config], *, worker_main: WorkerMain = run_worker) -> int:
    """Serve until told to end; gives the exit status: 0, or 1 when the start failed.

    `load` is called now and at every SIGHUP; what it raises now is the caller's. SIGTERM drains,
    SIGINT and SIGQUIT stop, SIGUSR1 opens the logs anew. The caller's signal handlers and logging
    are replaced; there must be no thread and no event loop in the process.
    """
    config = load()
    error_log.configure(config.log)
    _allow_open_files()
    _adopt_orphans()
    return Master(load, worker_main, config).run()


class Master:
    """Decides who lives. The generation that serves is `_current`; `_pending` is on trial."""

    def __init__(self, load: Callable[[], Config], worker_main: WorkerMain, config: Config) -> None:
        self._load = load
        self._inbox = SignalInbox()
        self._listeners = Listeners(inherited_sockets())
        self._launcher = Launcher(self._inbox, self._listeners, worker_main)
        self._admin = AdminKeeper(self._start_admin)
        self._deaths = DeathRate()
        self._orphans = Orphans()
        self._phase = Phase.STARTING
        self._reload_asked = False
        self._exit_status = 0
        self._current = _generation(1, config)
        self._pending: Generation | None = None
        self._retiring: list[Generation] = []
        self._past: list[Generation] = []  # ended, but their counters are not inherited yet
        self._number = 1
        self._on_signal = {
            signal.SIGTERM: self._drain,
            signal.SIGINT: self._stop,
            signal.SIGQUIT: self._stop,
            signal.SIGHUP: self._ask_reload,
            signal.SIGUSR1: self._reopen_logs,
        }

    def run(self) -> int:
        """Start, serve, end."""
        try:
            self._launch(self._current)
        except OSError as error:
            self._give_up(error)
        else:
            self._admin.replace(wanted=bool(self._current.config.server.admin_listen))
        while self._phase not in _ENDING or any(g.pids for g in self._generations()):
            self._turn()
        self._orphans.kill()
        self._admin.end()
        self._listeners.keep(())
        log.info("ended")
        return self._exit_status

    def _turn(self) -> None:
        signals = self._inbox.wait(self._patience(), self._launcher.reports)
        for pid in self._launcher.read_ready():
            self._ready(pid)
        self._reap()
        for number in sorted(signals & self._on_signal.keys()):
            self._on_signal[number]()
        self._keep_deadlines(time.monotonic())
        if self._reload_asked and self._phase is Phase.RUNNING:
            self._reload()

    def _generations(self) -> list[Generation]:
        return [self._current, *([self._pending] if self._pending else []), *self._retiring]

    def _find(self, pid: int) -> tuple[Generation, WorkerSlot] | None:
        found = ((g, slot) for g in self._generations() if (slot := g.slot_of(pid)))
        return next(found, None)

    # Starting

    def _launch(self, generation: Generation) -> None:
        server = generation.config.server
        self._listeners.open(_addresses(generation.config), server.backlog)
        for slot in generation.slots:
            self._launcher.start_worker(generation, slot)
        started = {"generation": generation.number, "workers": len(generation.slots)}
        log.info("started workers on %s", ", ".join(server.listen), extra=started)

    def _start_admin(self) -> int:
        # Whoever inherits adds up; only the process forked now sees it, so nothing counts twice.
        for generation in self._past:
            self._current.board.inherit(generation.board)
        self._past.clear()
        boards = [self._current.board, *(g.board for g in self._retiring)]
        return self._launcher.start_admin(self._current.config.server, boards)

    def _ready(self, pid: int) -> None:
        found = self._find(pid)
        if found is None:
            return
        generation, slot = found
        generation.ready(slot)
        log.info("worker is ready", extra=_who(generation, slot))
        if not generation.is_ready:
            return
        if generation is self._pending:
            self._switch(generation)
        elif self._phase is Phase.STARTING:
            self._phase = Phase.RUNNING
            self._note_load()
            notify.notify("READY=1")

    def _give_up(self, reason: object) -> None:
        log.critical("cannot start: %s", reason)
        if self._current.config.log.error != "-":  # whoever started us looks at the terminal
            print(f"fastproxy: cannot start: {reason}", file=sys.stderr)
        self._exit_status = 1
        self._stop()

    # Dying

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            found = self._find(pid)
            # Others are children of children, whose parents have died.
            if found is not None:
                self._died(*found, status)
            else:
                self._admin.reaped(pid)

    def _died(self, generation: Generation, slot: WorkerSlot, status: int) -> None:
        now = time.monotonic()
        lived = now - slot.born
        told = {**_who(generation, slot), "lived_s": round(lived, 3), "how": _how(status)}
        if orphans := self._orphans.end(slot.pid or 0, now):
            log.warning("ending what a worker left running", extra={**told, "programs": orphans})
        generation.died(slot)
        if generation.is_retiring:
            log.info("worker ended", extra=told)
            self._forget_if_ended(generation)
            return
        log.error("worker died", extra=told)
        generation.board.master.cell("fastproxy_worker_deaths_total").add()
        if generation is self._pending:
            self._fail_reload("a worker of the new configuration died")
        elif self._phase is Phase.STARTING and os.WIFEXITED(status) and status:
            self._give_up("a worker failed at once, the error log says why")
        else:
            slot.start_at = now + self._delay(slot, lived, now)

    def _delay(self, slot: WorkerSlot, lived: float, now: float) -> float:
        delay = slot.backoff.delay(lived)
        if not self._deaths.note(now):
            return delay
        log.error("workers die too often, each start waits %s s", MAX_S)
        return MAX_S

    def _forget_if_ended(self, generation: Generation) -> None:
        if generation in self._retiring and not generation.pids:
            self._retiring.remove(generation)
            generation.board.master.clear_gauges()
            self._past.append(generation)
            log.info("generation ended", extra={"generation": generation.number})

    # Deadlines

    def _patience(self) -> float:
        deadlines = [self._admin.start_at, self._orphans.kill_at]
        for generation in self._generations():
            deadlines += [generation.kill_at, generation.ready_by]
        deadlines += [slot.start_at for slot in self._vacant()]
        wait = min(deadlines) - time.monotonic()
        return max(0.0, min(wait, _LONGEST_WAIT_S))

    def _vacant(self) -> list[WorkerSlot]:
        """Slots to fill again."""
        if self._phase in _ENDING:
            return []
        return [slot for slot in self._current.slots if slot.state is WorkerState.DEAD]

    def _keep_deadlines(self, now: float) -> None:
        for generation in self._generations():
            if generation.kill_at <= now:
                _send(generation, signal.SIGKILL)
                generation.kill_at = now + KILL_AGAIN_S
        if self._pending is not None and self._pending.ready_by <= now:
            self._fail_reload(f"not ready within {READY_S} s")
        for slot in self._vacant():
            if slot.start_at <= now:
                self._respawn(slot, now)
        self._admin.keep(now)
        self._orphans.keep(now)

    def _respawn(self, slot: WorkerSlot, now: float) -> None:
        try:
            self._launcher.start_worker(self._current, slot)
        except OSError as error:
            log.error("cannot start a worker: %s", error)
            slot.start_at = now + MAX_S

    # Reloading

    def _ask_reload(self) -> None:
        self._reopen_logs()
        self._reload_asked = True

    def _reload(self) -> None:
        self._reload_asked = False
        self._phase = Phase.RELOADING
        notify.reloading()
        try:
            self._number += 1
            self._pending = _generation(self._number, self._load())
            self._pending.ready_by = time.monotonic() + READY_S
            self._launch(self._pending)
        except Exception as error:  # whatever is wrong with the new: the old serves on
            self._fail_reload(error)

    def _switch(self, fresh: Generation) -> None:
        old, self._current, self._pending = self._current, fresh, None
        fresh.ready_by = math.inf
        self._lay_off(old)
        try:
            error_log.configure(fresh.config.log)
        except OSError as error:
            log.error("the error log stays where it was: %s", error)
        self._note_load()
        self._admin.replace(wanted=bool(fresh.config.server.admin_listen))
        self._settle("ok")
        log.info("reloaded", extra={"generation": fresh.number})

    def _fail_reload(self, reason: object) -> None:
        log.error("reload failed, the old configuration stays: %s", reason)
        failed, self._pending = self._pending, None
        if failed is not None:
            self._lay_off(failed)
        self._settle("failed")

    def _settle(self, result: str) -> None:
        self._phase = Phase.RUNNING
        self._listeners.keep(_addresses(self._current.config))
        self._current.board.master.cell("fastproxy_config_reloads_total", result).add()
        notify.notify("READY=1")

    def _note_load(self) -> None:
        name = "fastproxy_config_last_reload_success_timestamp_seconds"
        self._current.board.master.cell(name).set(time.time())

    # Ending

    def _lay_off(self, generation: Generation) -> None:
        """Let a generation drain beside the current one."""
        generation.board.master.clear_gauges()
        self._retiring.append(generation)
        self._end(generation, signal.SIGTERM, generation.drain_s + SLACK_S)
        self._forget_if_ended(generation)
        if len(self._retiring) > MAX_RETIRING:
            oldest = self._retiring[0]
            log.error("too many generations drain", extra={"stopped": oldest.number})
            self._end(oldest, signal.SIGINT, STOP_S)

    def _drain(self) -> None:
        if self._phase in _ENDING:
            return
        self._phase = Phase.DRAINING
        # Nobody will accept any more: clients must be refused, not kept waiting in the backlog.
        self._listeners.keep([self._current.config.server.admin_listen])
        longest = max(g.drain_s for g in self._generations()) + SLACK_S
        log.info("draining", extra={"longest_s": longest})
        notify.stopping(longest)
        for generation in self._generations():
            if not generation.is_retiring:
                self._end(generation, signal.SIGTERM, generation.drain_s + SLACK_S)

    def _stop(self) -> None:
        if self._phase is Phase.STOPPING:
            return
        self._phase = Phase.STOPPING
        log.info("stopping")
        notify.stopping(STOP_S)
        for generation in self._generations():
            self._end(generation, signal.SIGINT, STOP_S)

    def _end(self, generation: Generation, number: signal.Signals, within: float) -> None:
        _send(generation, number)
        generation.retire(time.monotonic() + within)

    def _reopen_logs(self) -> None:
        error_log.reopen()
        for generation in self._generations():
            _send(generation, signal.SIGUSR1)


def _allow_open_files() -> None:
    """Take all descriptors the system allows; the lower limit is for programs with select(2)."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    except (OSError, ValueError) as error:
        log.warning("cannot raise the limit of open files: %s", error)


def _adopt_orphans() -> None:
    try:
        adopt()
    except OSError as error:
        log.warning("programs of a worker that is killed may outlive it: %s", error)


def _generation(number: int, config: Config) -> Generation:
    return Generation(number, config, config.server.workers or len(os.sched_getaffinity(0)))


def _addresses(config: Config) -> tuple[str, ...]:
    server = config.server
    return (*server.listen, *((server.admin_listen,) if server.admin_listen else ()))


def _send(generation: Generation, number: signal.Signals) -> None:
    for pid in generation.pids:  # not reaped yet, so the number is still theirs
        os.kill(pid, number)


def _who(generation: Generation, slot: WorkerSlot) -> dict[str, object]:
    return {"generation": generation.number, "worker": slot.index, "worker_pid": slot.pid}


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
