"""We cannot serve this, now or at all."""

from fastproxy.errors.fault import FastproxyError, Retry


class OwnFault(FastproxyError):
    """We cannot serve this now, or we have a bug."""


class ShuttingDown(OwnFault):
    """This worker is draining."""

    kind = "shutting-down"
    status = 503
    retry = Retry.SAFE


class TooManyConnections(OwnFault):
    """This worker has as many clients as it is configured for."""

    kind = "too-many-connections"
    status = 503
    retry = Retry.SAFE


class TooManyWaiting(OwnFault):
    """As many requests wait for their turn as may wait. Its route's queue chooses the status."""

    kind = "too-many-waiting"
    status = 429
    retry = Retry.SAFE


class WaitedTooLong(OwnFault):
    """The turn of a request has not come in time. Its route's queue chooses the status."""

    kind = "waited-too-long"
    status = 503
    retry = Retry.SAFE


class MemoryShort(OwnFault):
    """Both the memory and the disk budget are full and the queue for them is, too."""

    kind = "memory-short"
    status = 503
    retry = Retry.SAFE


class GitBusy(OwnFault):
    """As many of git's programs run as may, and the queue for them is full or too slow."""

    kind = "git-busy"
    status = 503
    retry = Retry.SAFE


class GitFailed(OwnFault):
    """One of git's programs cannot be run, or failed before it answered."""

    kind = "git-failed"


class GitTimeout(OwnFault):
    """One of git's programs, or its client, took longer than a request may."""

    kind = "git-timeout"
    status = 504


class Bug(OwnFault):
    """An exception nobody expected."""

    kind = "bug"
