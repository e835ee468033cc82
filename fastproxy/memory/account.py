"""What the policy knows of one upload."""

from enum import Enum

from msgspec import Struct

NEVER = -1


class Standing(Enum):
    """READING -> QUEUED, LINED or HELD -> READING ... -> DONE."""

    READING = "reading"
    QUEUED = "queued"  # waits for memory
    LINED = "lined"  # must be whole before it can move, and waits for memory or its turn
    HELD = "held"  # waits for its store: too much is on its way already
    DONE = "done"


class Account(Struct, eq=False):
    """One upload's share of the memory. Counts are slabs, on disk blocks of the same size.

    `age` orders uploads by when they were opened: the smaller, the older. `claim`: what a part that
    the reserve does not hold may need before it can move; 0: its parts can leave early.
    """

    age: int
    opened_at: float
    claim: int = 0
    is_endless: bool = False  # its only part is complete when the body is, however long that is
    may_end: bool = False  # its task hears of it through `next_part`
    grew_at: float = 0.0  # when bytes came last, or when it was told to go on
    standing: Standing = Standing.READING
    ticket: int = NEVER  # its valid place in a queue; older places are stale
    epoch: int = NEVER  # when it grew last; NEVER: it has nothing to spill
    held: int = 0  # of the unfinished part
    disk: int = 0  # of the unfinished part
    flying: int = 0  # of complete parts that were not released yet
