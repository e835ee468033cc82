"""The store failed us."""

from fastproxy.errors.fault import FastproxyError, Retry, Side


class StorageFault(FastproxyError):
    """The store failed us."""

    side = Side.STORAGE
    kind = "storage"
    status: int | None = 502


class StoreUnavailable(StorageFault):
    """The store cannot be reached, timed out, or says it is busy (5xx, SlowDown)."""

    kind = "store-unavailable"
    status = 503
    retry = Retry.SAFE


class StoreRefused(StorageFault):
    """The store answered no: denied, expired signature, no such bucket or upload."""

    kind = "store-refused"


class StoreMismatch(StorageFault):
    """The store confirms another size or checksum than what was sent."""

    kind = "store-mismatch"


class StoreTimeout(StorageFault):
    """The upload did not finish within its deadline because the store was slow."""

    kind = "store-timeout"
    status = 504
