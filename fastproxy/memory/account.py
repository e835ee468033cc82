"""What the policy knows of one upload."""

from dataclasses import dataclass
from enum import Enum

NEVER = -1


class Standing(Enum):
    """READING -> QUEUED or HELD -> READING ... -> DONE."""

    READING = "reading"
    QUEUED = "queued"  # waits for memory
    HELD = "held"  # waits for its store: too much is on its way already
    DONE = "done"


@dataclass(slots=True, eq=False)
class Account:
    """One upload's share of the memory. Counts are slabs.

    `age` orders uploads by when they were opened: the smaller, the older.
    """

    age: int
    opened_at: float
    needs: int  # what it must be able to hold to complete a part
    standing: Standing = Standing.READING
    ticket: int = NEVER  # its valid place in a queue; older places are stale
    epoch: int = NEVER  # when it grew last; NEVER: it has nothing to spill
    held: int = 0  # of the unfinished part
    flying: int = 0  # of complete parts that were not released yet
