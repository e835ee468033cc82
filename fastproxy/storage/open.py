"""From configuration to stores, and the undoing of what an earlier process left."""

from collections.abc import Callable, Mapping

from fastproxy.config import schema
from fastproxy.errors import StoreUnavailable
from fastproxy.storage import presigned
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import Store
from fastproxy.storage.journal import Entry, Recovery, recover
from fastproxy.storage.local import LocalStore
from fastproxy.storage.presigned import PresignedStore, PresignedTarget
from fastproxy.storage.s3 import S3Store
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.tracked import TrackedStore, UndoUrls
from fastproxy.storage.undoing import Undoing

PRESIGNED = ""  # the journal's name for stores that live for one request


def open_store(
    name: str,
    config: schema.AnyStore,
    call: HttpCall,
    undoing: Undoing,
    on_retry: Callable[[], None] = lambda: None,
) -> TrackedStore:
    """A configured store; `on_retry` hears of every repeated request.

    Blocking for a local one (sweeps). Raises StorageFault, OwnFault.
    """
    if isinstance(config, schema.LocalStore):
        return TrackedStore(name, LocalStore(config.path, config.fsync), undoing)
    policy = RetryPolicy(attempts=config.attempts, timeout_s=config.timeout, on_retry=on_retry)
    return TrackedStore(name, S3Store(config, call, policy), undoing, policy=policy)


def open_presigned(
    target: PresignedTarget, call: HttpCall, undoing: Undoing, policy: RetryPolicy | None = None
) -> TrackedStore:
    """The store of one request; nothing to close."""
    return TrackedStore(
        PRESIGNED,
        PresignedStore(target, call, policy),
        undoing,
        UndoUrls(target.abort_url, target.delete_url, target.get_url),
    )


async def recover_stores(
    state_dir: str, stores: Mapping[str, Store], call: HttpCall, policy: RetryPolicy
) -> Recovery:
    """Undo in every store what dead processes left behind; see journal.recover.

    What was written to a store that is not configured any more, or elsewhere, is kept for a time.
    """

    async def undo(entry: Entry) -> None:
        assert entry.left is not None  # noqa: S101 - recover() promises it
        if entry.store == PRESIGNED:
            await presigned.undo(entry.left, call, policy)
            return
        store = stores.get(entry.store)
        if store is None or store.place != entry.place:
            raise StoreUnavailable(f'no store "{entry.store}" at {entry.place}')
        await store.undo(entry.left)

    return await recover(state_dir, undo)
