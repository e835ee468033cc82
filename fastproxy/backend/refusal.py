"""Why a request is not believed, and what its sender is told."""

import logging
from enum import Enum
from http import HTTPStatus
from typing import Final

_log: Final = logging.getLogger("fastproxy.backend")


class Reason(Enum):
    """What is wrong with a request; the words of docs/protocol-vectors.json."""

    MISSING = "missing"  # no token: it came past fastproxy, or by another spelling of the path
    MALFORMED = "malformed"  # no JWT, or one without what every token of ours says
    SIGNATURE = "signature"  # by another secret or another algorithm
    ISSUER = "issuer"
    PURPOSE = "purpose"  # a token of the other kind
    EXPIRED = "expired"
    EARLY = "early"  # signed in the future: the clocks differ
    REQUEST = "request"  # a token for another method or path
    BODY = "body"  # not the report that was signed, or too long to be one
    REPLAYED = "replayed"
    UNCERTAIN = "uncertain"  # whether it is replayed cannot be told now
    TOO_LARGE = "too-large"
    PLACE = "place"  # the file is not where the application's files are
    DENIED = "denied"  # by the application itself


_STATUS: Final = {Reason.UNCERTAIN: 503, Reason.TOO_LARGE: 413}


class Refused(Exception):
    """Answer with `status` and `text`, and do nothing of what the request asks for.

    Applications raise it with Reason.DENIED and a status of their choice.
    """

    def __init__(self, reason: Reason, detail: str, status: int | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.status = status or _STATUS.get(reason, 403)

    @property
    def status_line(self) -> str:
        """Status and phrase, as WSGI wants them."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Refused"

    @property
    def text(self) -> str:
        """One line for the client."""
        return f"{self.status} {self}\n"

    def log(self, method: str, path: str) -> None:
        """Tell the operator; `path` may be anybody's text."""
        _log.warning("refused %.16r %.256r: %s", method, path, self)
