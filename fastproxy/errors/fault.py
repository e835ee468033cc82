"""What is said of every failure: whose fault it is, which status, whether a retry is safe."""

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
