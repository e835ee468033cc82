"""One worker's application, from its configuration to its last connection. Wiring, no logic."""

import asyncio
import ipaddress
import logging

from fastproxy.config.schema import Config
from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.express.lane import Lane
from fastproxy.front.context import FrontContext
from fastproxy.front.entrance import open_entrances, renew
from fastproxy.front.server import FrontServer
from fastproxy.handlers.git.http import GitDialogue
from fastproxy.handlers.uploads.body import Upload
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.routes import RouteTable
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.open import recover_stores
from fastproxy.storage.undoing import AGAIN
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch
from fastproxy.worker.assembly import Handlers
from fastproxy.worker.context import WorkerContext
from fastproxy.worker.dispatch import Dispatch
from fastproxy.worker.gauges import Gauges
from fastproxy.worker.reporting import Reports
from fastproxy.worker.resources import open_resources

log = logging.getLogger("fastproxy")

_HANDLER_GRACE_S = 1.0  # for tasks whose client is gone
_UNDO_GRACE_S = 3.0  # for aborts and removals; the master kills after five


class App:
    """See the module. Made inside a running event loop."""

    def __init__(self, config: Config, context: WorkerContext) -> None:
        self._config = config
        self._context = context
        loop = asyncio.get_running_loop()
        self._reactor = Reactor(loop, Scratch(), Deadlines(loop))
        self._resources = open_resources(config, self._reactor, context.metrics)
        self._handlers = Handlers(config, self._resources)
        self._table = RouteTable(config.route, config.server.keep_encoded_slash)
        self._front_context = self._make_front_context()
        self._entrances = open_entrances(config, self._front_context)
        self._front = FrontServer(self._front_context, _is_upload, self._entrances)
        self._chores: list[asyncio.Task[None]] = []

    def _make_front_context(self) -> FrontContext:
        limits = self._config.limits
        trusted = self._config.server.trusted_proxies
        context = FrontContext(
            limits,
            self._reactor,
            RequestHeadParser(max_count=limits.header_count, max_target=limits.target_bytes),
            Reports(self._context),
            Dispatch(self._table, self._handlers.by_index).serve,
            tuple(ipaddress.ip_network(network) for network in trusted),
            self._context.seat,
        )
        context.shortcut = Lane(
            context,
            self._table,
            self._handlers.by_index,
            self._context.metrics.requests,
            self._context.access_log,
        )
        return context

    async def start(self) -> None:
        """Begin accepting on the context's listeners."""
        self._reactor.start()
        for application in self._handlers.applications:
            await application.start()
        self._handlers.polling.start()
        kept = self._resources
        gauges = Gauges(kept.metrics, self._front_context, kept.targets.values(), kept.arena)
        kept.metrics.samplers.append(gauges.sample)
        create_task = self._reactor.loop.create_task
        self._chores = [create_task(self._recover()), create_task(renew(self._entrances))]
        await self._front.start(self._context.listeners, self._config.server.backlog)

    async def warm_up(self) -> None:
        """Do what the first requests would otherwise wait for."""
        await self._resources.stores.prepare()

    async def _recover(self) -> None:
        """Undo what dead workers left in stores, until all is done; nobody waits for it."""
        kept = 0
        for pause in AGAIN.pauses():
            kept = await self._recover_once(kept)
            if not kept:
                return
            await asyncio.sleep(pause)

    async def _recover_once(self, before: int) -> int:
        """How many leftovers are to be tried again; `before`: how many there were."""
        state_dir, stores = self._config.server.state_dir, self._resources.stores
        if not state_dir:
            return 0
        try:
            recovery = await recover_stores(
                state_dir, stores.by_name, stores.client.request, RetryPolicy()
            )
        except FastproxyError as fault:
            log.warning("recovery of unfinished uploads failed: %s", fault.detail)
            return before or 1
        aborted = self._context.metrics.cell("fastproxy_orphans_aborted_total")
        aborted.add(recovery.undone)
        if recovery.undone or recovery.kept != before:
            log.info(
                "unfinished uploads of dead workers: %d removed, %d left for later",
                recovery.undone,
                recovery.kept,
            )
        return recovery.kept

    async def drain(self, *, deadline_s: float, upload_deadline_s: float) -> None:
        """Stop accepting, finish what runs, close."""
        until = self._reactor.loop.time() + upload_deadline_s
        self._front.stop_accepting()
        self._handlers.drain(deadline_s)
        await self._front.drain(deadline_s, upload_deadline_s)
        # Uploads whose client left wait for their backend's answer to the report.
        left_s = until - self._reactor.loop.time()
        await self._handlers.uploads.stop(max(left_s, _HANDLER_GRACE_S))
        await self.stop(until - self._reactor.loop.time())

    async def stop(self, undo_s: float = 0.0) -> None:
        """End at once; remote parts of cut uploads are aborted, and `undo_s` is there for that."""
        self._front.cut()
        for chore in self._chores:
            chore.cancel()
        handlers = self._handlers
        await handlers.polling.stop()
        await asyncio.gather(
            handlers.tasks.stop(_HANDLER_GRACE_S), handlers.uploads.stop(_HANDLER_GRACE_S)
        )
        await handlers.git.processes.stop()
        await handlers.scalers.close()
        for application in self._handlers.applications:
            await application.stop()
        await self._resources.close(max(undo_s, _UNDO_GRACE_S))
        self._reactor.stop()


def _is_upload(exchange: Exchange) -> bool:
    return isinstance(exchange.sink, Upload | GitDialogue)
