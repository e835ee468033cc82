"""The stores of a worker, opened, and the connections that their bytes travel by."""

import asyncio
import logging
from typing import Final

from msgspec import Struct

from fastproxy.config.schema import AnyStore, Config, S3Store
from fastproxy.errors import StorageFault
from fastproxy.loop.reactor import Reactor
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.senders.store_client import StoreClient
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.origin import tls_context
from fastproxy.upstream.pinned import PinnedPools
from fastproxy.upstream.pool import PoolLimits

log = logging.getLogger(__name__)

SHARED_CONNECTIONS: Final = 64  # to all hosts whose URLs backends sign


class Stores(Struct):
    """The configured stores, and the way to those that a backend names for one request."""

    undoing: Undoing
    client: HttpClient
    by_name: dict[str, TrackedStore]
    store_clients: dict[str, StoreClient]  # the same, for reading
    clients: list[HttpClient | PinnedPools]
    needs_authorities: bool  # the system's

    async def prepare(self) -> None:
        """Do what the first uploads would wait for: a client of S3 takes longer than all else."""
        if self.needs_authorities:
            await asyncio.to_thread(tls_context)
        for name, store in self.by_name.items():
            try:
                await store.prepare()
            except StorageFault as fault:  # uploads will try again
                log.warning('store "%s": %s', name, fault.detail)

    async def close(self, within_s: float) -> None:
        """Wait for what is being undone, then let go; what is not done is the next start's."""
        await self.undoing.close(within_s)
        for store in self.by_name.values():
            await store.close()
        for client in self.clients:
            client.close()
        self.undoing.journal.close()


def open_stores(config: Config, reactor: Reactor, metrics: UploadMetrics) -> Stores:
    """Blocking: local stores sweep their temporary files. Raises StorageFault, OwnFault."""
    undoing = Undoing(Journal(config.server.state_dir))
    shared = HttpClient(reactor, _store_limits(SHARED_CONNECTIONS))
    needs_authorities = any(map(_trusts_system, config.store.values()))
    stores = Stores(undoing, shared, {}, {}, [shared], needs_authorities)
    for name, store in config.store.items():
        client, tls = shared, None
        if isinstance(store, S3Store):
            own = bool(store.ca_file) or not store.tls_verify
            tls = tls_context(store.ca_file, verify=store.tls_verify) if own else None
            client = HttpClient(reactor, _store_limits(store.connections), tls)
        opened = open_store(name, store, client.request, undoing, metrics.count_retry)
        stores.by_name[name] = opened
        # A slow reader keeps its connection: it must not be one that uploads wait for.
        reading = HttpClient(reactor, PoolLimits(), tls)
        stores.store_clients[name] = StoreClient(opened, reading)
        stores.clients += [client, reading]
    return stores


def _trusts_system(store: AnyStore) -> bool:
    return (
        isinstance(store, S3Store)
        and not store.ca_file
        and store.tls_verify
        and not store.endpoint.startswith("http://")
    )


def _store_limits(connections: int) -> PoolLimits:
    # A part that waits for a connection is not late: its upload has a deadline of its own.
    return PoolLimits(max_connections=connections, queue=1 << 20, queue_timeout_s=3600.0)
