"""The worker process: an event loop, the application in it, and the master's orders.

The master imports this and so the application: its workers share that memory, and none of them
spends 60 ms of CPU on importing it again.
"""

import asyncio
import gc
import logging
import math
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import uvloop

from fastproxy.observe import error_log
from fastproxy.observe.pulse import Pulse
from fastproxy.service.heap import use_one_heap
from fastproxy.worker.app import App
from fastproxy.worker.context import WorkerContext

log = logging.getLogger(__name__)

# Everything is looked at seventy times as rarely as Python does by itself: with 8,750 uploads that
# took 45 ms, on a busy machine up to 170, and all requests waited meanwhile. What is young is
# looked at seven times as rarely: that was 3.4 % of the CPU of a storm and is 0.8.
COLLECTOR = (5000, 10, 100)
STOP_S = 1.0  # SIGINT: time to say goodbye
_OVERTIME_S = 2.0  # beyond the drain's own deadlines
_ORPHAN_S = 5.0  # beyond them without a master, which would kill us by then


class Serving(Protocol):
    """The application as a worker sees it."""

    async def start(self) -> None:
        """Begin accepting on the context's listeners."""
        ...

    async def warm_up(self) -> None:
        """Do what the first requests would otherwise wait for; it already accepts them."""
        ...

    async def drain(self, *, deadline_s: float, upload_deadline_s: float) -> None:
        """Stop accepting, finish what runs, close."""
        ...

    async def stop(self) -> None:
        """End at once."""
        ...


MakeApp = Callable[[WorkerContext], Serving]


def run_worker(context: WorkerContext, make_app: MakeApp | None = None) -> None:
    """Serve until the master says otherwise or is gone."""
    use_one_heap()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(context, make_app or _application))


def _application(context: WorkerContext) -> Serving:
    return App(context.config, context)


class Orders:
    """What the master wants, as events: SIGTERM or its death `drain`, SIGINT and SIGQUIT `stop`."""

    def __init__(self, context: WorkerContext) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self._context = context
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain.set)
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGQUIT, self._stop)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_logs)
        if context.lifeline >= 0:
            loop.add_reader(context.lifeline, self._on_lifeline)

    def _stop(self) -> None:
        self.stop.set()
        self.drain.set()

    def _on_lifeline(self) -> None:
        asyncio.get_running_loop().remove_reader(self._context.lifeline)
        log.error("the master is gone, draining")
        server = self._context.config.server
        # The signal's default action ends us, also while Python waits for somebody's thread.
        signal.alarm(math.ceil(max(server.drain, server.upload_drain) + _ORPHAN_S))
        self.drain.set()

    def _reopen_logs(self) -> None:
        error_log.reopen()
        try:
            self._context.access_log.reopen()
        except OSError as error:
            log.error("cannot reopen the access log: %s", error)


async def _serve(context: WorkerContext, make_app: MakeApp) -> None:
    orders = Orders(context)
    pulse = Pulse(context.metrics)
    app = make_app(context)
    try:
        if await _unless(orders.drain, app.start()):
            pulse.start()
            _forget_startup_garbage()
            context.report_ready()
            await _unless(orders.drain, _warm_up(app))
            await orders.drain.wait()
            await _end(app, context, orders)
        else:
            await _stop(app)  # there is nothing to drain yet
    finally:
        pulse.stop()
        context.access_log.close()


def _forget_startup_garbage() -> None:
    """What lives now lives for ever: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)


async def _warm_up(app: Serving) -> None:
    # All that is loaded now stays. To look at it takes the collector 20 to 50 ms each time, which
    # clients would have to wait.
    gc.disable()
    try:
        await app.warm_up()
    finally:
        gc.freeze()
        gc.enable()


async def _end(app: Serving, context: WorkerContext, orders: Orders) -> None:
    server = context.config.server
    drain = app.drain(deadline_s=server.drain, upload_deadline_s=server.upload_drain)
    longest = max(server.drain, server.upload_drain) + _OVERTIME_S
    if not await _unless(orders.stop, drain, timeout=longest):
        await _stop(app)


async def _stop(app: Serving) -> None:
    try:
        async with asyncio.timeout(STOP_S):
            await app.stop()
    except TimeoutError:
        log.warning("stopped without a proper end", extra={"after_s": STOP_S})


async def _unless(
    event: asyncio.Event, work: Coroutine[Any, Any, None], *, timeout: float | None = None
) -> bool:
    """Do `work` and say True; give it up and say False once `event` is set or time is up."""
    task = asyncio.create_task(work)
    order = asyncio.create_task(event.wait())
    await asyncio.wait((task, order), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finished = task.done()
    task.cancel()
    order.cancel()
    await asyncio.wait((task, order), timeout=STOP_S)
    if finished:
        task.result()
    return finished
