"""Forking workers and the admin process out of the master."""

import gc
import logging
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from fastproxy.config import schema
from fastproxy.errors import FastproxyError
from fastproxy.observe import error_log
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.metrics import Board
from fastproxy.service.admin import run_admin
from fastproxy.service.generation import Generation, WorkerSlot
from fastproxy.service.listeners import Listeners
from fastproxy.service.signals import SignalInbox, held
from fastproxy.worker.context import WorkerContext

log = logging.getLogger(__name__)

WorkerMain = Callable[[WorkerContext], None]

_PID = struct.Struct("=i")
_FAILED = 1


class Launcher:
    """Makes processes and keeps two pipes with them, however many there are.

    Nothing is ever written to the lifeline: it reads EOF when the master has died. Through the
    other pipe a worker sends its pid once it accepts connections; such a write is never torn.
    """

    def __init__(self, inbox: SignalInbox, listeners: Listeners, worker_main: WorkerMain) -> None:
        self._inbox = inbox
        self._listeners = listeners
        self._worker_main = worker_main
        self._lifeline, self._master_end = os.pipe()
        self.reports, self._report_end = os.pipe()
        os.set_blocking(self.reports, False)

    def start_worker(self, generation: Generation, slot: WorkerSlot) -> None:
        """Fork a worker into an empty slot. Raises OSError when the system has no room."""
        pid = self._fork(lambda: self._be_worker(generation, slot.index))
        generation.born(slot, pid, time.monotonic())

    def start_admin(self, server: schema.Server, boards: Sequence[Board]) -> int:
        """Fork the admin process; `boards` begins with the current one. Raises OSError."""
        return self._fork(lambda: self._be_admin(server, boards))

    def read_ready(self) -> list[int]:
        """Pids of workers that have become ready since the last call."""
        try:
            data = os.read(self.reports, 1024 * _PID.size)
        except BlockingIOError:
            return []
        return [pid for (pid,) in _PID.iter_unpack(data)]

    def _fork(self, child: Callable[[], None]) -> int:
        gc.collect(1)  # what is young; all of it would take 10 ms of a start
        gc.freeze()  # a later collection in the child must not copy the pages it inherits
        with held() as reset_signals:
            pid = os.fork()
            if pid == 0:
                _live(reset_signals, self._leave_master, child)
            return pid

    def _leave_master(self) -> None:
        self._inbox.close_in_child()
        os.close(self._master_end)
        os.close(self.reports)

    def _be_worker(self, generation: Generation, index: int) -> None:
        server = generation.config.server
        self._listeners.close_in_child(but=server.listen)
        error_log.configure(generation.config.log)
        metrics = generation.board.worker(index)
        dropped = metrics.cell("fastproxy_access_log_dropped_total")
        context = WorkerContext(
            config=generation.config,
            index=index,
            generation=generation.number,
            listeners=self._listeners.sockets(server.listen),
            metrics=metrics,
            access_log=AccessLog(generation.config.log.access, dropped),
            seat=generation.client_counts.seat(index),
            lifeline=self._lifeline,
            report_ready=self._report_ready,
        )
        self._worker_main(context)

    def _report_ready(self) -> None:
        os.write(self._report_end, _PID.pack(os.getpid()))

    def _be_admin(self, server: schema.Server, boards: Sequence[Board]) -> None:
        self._listeners.close_in_child(but=(server.admin_listen,))
        os.close(self._report_end)
        (listener,) = self._listeners.sockets((server.admin_listen,))
        run_admin(listener, server.admin_hosts, boards, self._lifeline)


def _live(*steps: Callable[[], None]) -> NoReturn:
    """The whole life of a child; never returns into the master's code."""
    code = _FAILED
    try:
        for step in steps:
            step()
        code = 0
    except FastproxyError as error:
        log.critical("process ends: %s", error, exc_info=error.__cause__)
    except BaseException:
        log.critical("process ends by an unexpected error", exc_info=True)
    finally:
        os._exit(code)
