"""Every failure we name: whose fault, what, which status, and whether a retry is safe.

`detail` is for our log and never sent to a client. Foreign exceptions (httptools, OSError, boto)
are turned into one of these in the room that called the library.
"""

import math
from enum import Enum
from typing import ClassVar


class Side(Enum):
    """Whose fault a failure is."""

    CLIENT = "client"
    BACKEND = "backend"
    STORAGE = "storage"
    OURS = "ours"


class Retry(Enum):
    """May the same request be sent again without risking that it acts twice?"""

    NO = "no"
    SAFE = "safe"
    IF_REUSED = "if-reused"  # only when it went out on a kept-alive connection


class FastproxyError(Exception):
    """A named failure. `status` None means: there is nobody left to answer."""

    side: ClassVar[Side] = Side.OURS
    kind: ClassVar[str] = "internal"
    status: int | None = 500
    retry: ClassVar[Retry] = Retry.NO
    retry_after_s: int = 5  # told with 429 and 503

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.kind)
        self.detail = detail


class ClientFault(FastproxyError):
    """The client sent something we refuse, or left."""

    side = Side.CLIENT
    kind = "client"
    status: int | None = 400


class BadHead(ClientFault):
    """The request head does not parse, or two parsers could read it differently."""

    kind = "bad-head"


class BadPreface(ClientFault):
    """What came before the first request is no PROXY preface, where one is required."""

    kind = "bad-preface"
    status = None


class AmbiguousFraming(ClientFault):
    """Content-Length and Transfer-Encoding leave room for doubt (RFC 9112 section 6.3)."""

    kind = "ambiguous-framing"


class BadBody(ClientFault):
    """The body's framing is broken, or it ended before its declared length."""

    kind = "bad-body"


class BadForm(ClientFault):
    """A multipart/form-data body does not parse, or could be read in two ways."""

    kind = "bad-form"


class BadSubprotocol(ClientFault):
    """None of the subprotocols that a WebSocket's client offers is permitted."""

    kind = "bad-subprotocol"


class ForbiddenOrigin(ClientFault):
    """A page of another site wants to open a WebSocket (RFC 6455 section 10.2)."""

    kind = "forbidden-origin"
    status = 403


class UpgradeRequired(ClientFault):
    """What is there is a WebSocket (RFC 9110 section 15.5.22)."""

    kind = "upgrade-required"
    status = 426


class MethodNotAllowed(ClientFault):
    """No route takes this method on this path."""

    kind = "method-not-allowed"
    status = 405


class NoRoute(ClientFault):
    """No route matches."""

    kind = "no-route"
    status = 404


class TooSlow(ClientFault):
    """The client did not send fast enough (head deadline, body idle or minimum rate)."""

    kind = "too-slow"
    status = 408


class BodyTooLarge(ClientFault):
    """The body is, or declares to be, larger than allowed."""

    kind = "body-too-large"
    status = 413


class UnsupportedCoding(ClientFault):
    """The body is compressed in a way that we do not undo (RFC 9110 section 15.5.16)."""

    kind = "unsupported-coding"
    status = 415


class TargetTooLong(ClientFault):
    """The request target is longer than allowed."""

    kind = "target-too-long"
    status = 414


class FormTooLarge(BodyTooLarge):
    """A form has more fields, more files or longer heads than allowed."""

    kind = "form-too-large"


class ExpectationFailed(ClientFault):
    """An Expect other than 100-continue (RFC 9110 section 10.1.1)."""

    kind = "expectation-failed"
    status = 417


class DigestMismatch(ClientFault):
    """The body does not have the digest the backend required of it."""

    kind = "digest-mismatch"
    status = 422


class TooManyOfClient(ClientFault):
    """One client has as many connections as it may have (RFC 6585 section 4)."""

    kind = "too-many-of-client"
    status = 429
    retry = Retry.SAFE


class RateLimited(ClientFault):
    """One client asks more often than it may; `wait_s`: how long it should wait."""

    kind = "rate-limited"
    status = 429
    retry = Retry.SAFE

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, math.ceil(wait_s))


class SizeMismatch(ClientFault):
    """The body does not have the size the backend required of it."""

    kind = "size-mismatch"
    status = 422


class HeadTooLarge(ClientFault):
    """The head has too many bytes or too many fields."""

    kind = "head-too-large"
    status = 431


class ClientGone(ClientFault):
    """The client closed its connection before its answer was complete."""

    kind = "client-gone"
    status = None


class BackendFault(FastproxyError):
    """The backend did not give a usable answer."""

    side = Side.BACKEND
    kind = "backend"
    status = 502


class ConnectFailed(BackendFault):
    """No connection to the backend: refused, unreachable, or no such socket."""

    kind = "connect-failed"
    retry = Retry.SAFE


class BadCertificate(ConnectFailed):
    """Who answers cannot prove to be who we want: expired, another name, an unknown authority."""

    kind = "bad-certificate"


class ConnectTimeout(BackendFault):
    """The backend did not accept a connection in time."""

    kind = "connect-timeout"
    status = 504
    retry = Retry.SAFE


class BackendClosed(BackendFault):
    """The backend closed its connection before its answer was complete."""

    kind = "backend-closed"
    retry = Retry.IF_REUSED


class StaleConnection(BackendClosed):
    """A kept connection was dead before any of an answer came: the backend closed it meanwhile."""

    kind = "stale-connection"


class BadResponse(BackendFault):
    """The backend's answer breaks HTTP."""

    kind = "bad-response"


class BadAuthorizeAnswer(BackendFault):
    """The backend's permission for an upload cannot be understood or must not be followed."""

    kind = "bad-authorize-answer"


class NoRepository(BackendFault):
    """The backend named a repository that is not there, or not beneath the root."""

    kind = "no-repository"
    status = 404


class BadOrder(BackendFault):
    """What the backend ordered to be sent in its place cannot be understood or is not allowed."""

    kind = "bad-order"


class NothingToSend(BackendFault):
    """What the backend ordered to be sent in its place is not there."""

    kind = "nothing-to-send"
    status = 404


class BackendTimeout(BackendFault):
    """The backend accepted the request and did not answer in time."""

    kind = "backend-timeout"
    status = 504


class BackendBusy(BackendFault):
    """All the backend's connections are in use and the queue is full or too slow."""

    kind = "backend-busy"
    status = 503
    retry = Retry.SAFE


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
