"""The backend did not answer as it must."""

from fastproxy.errors.fault import FastproxyError, Retry, Side


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
