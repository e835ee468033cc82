from typing import Final

from fastproxy.message import RequestHead, ResponseHead

END_OF_HEAD: Final[bytes]
HOP_BY_HOP: Final[frozenset[bytes]]
METHOD_OVERRIDES: Final[tuple[bytes, ...]]
PRIVATE_PREFIX: Final[bytes]
PRIVATE_TYPE: Final[bytes]

class RequestHeadParser:
    """Parses whole request heads, one a call."""

    def __init__(self, *, max_count: int = 100, max_target: int = 8192) -> None: ...
    def parse(self, raw: bytes) -> RequestHead:
        """The head in `raw`, which ends with its empty line.

        Raises BadHead, AmbiguousFraming, TargetTooLong, HeadTooLarge, ExpectationFailed and
        MethodNotAllowed (RFC 9112 sections 2 to 6).
        """

class ResponseHeadParser:
    """Parses whole response heads, one a call."""

    def parse(self, raw: bytes) -> ResponseHead:
        """The head in `raw`, which ends with its empty line. Raises BadResponse."""

def refuse_odd_bytes(raw: bytes) -> None:
    """Refuse control bytes, bare CR or LF and folded lines (RFC 9112 sections 2.2 and 5.2).

    Raises BadHead.
    """

def connection_tokens(value: bytes) -> list[bytes]:
    """The options of a Connection field, in lower case (RFC 9110 section 7.6.1)."""
