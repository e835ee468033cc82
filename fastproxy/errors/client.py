"""The client sent something that we refuse, or left."""

import math

from fastproxy.errors.fault import FastproxyError, Retry, Side


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


class UnscrubbedImage(ClientFault):
    """An image from which we cannot take what tells of its maker (RFC 9110 section 15.5.16)."""

    kind = "unscrubbed-image"
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
