"""What the policy knows of one upload."""

from enum import Enum

NEVER = -1


class Standing(Enum):
    """READING -> QUEUED, LINED or HELD -> READING ... -> DONE."""

    READING = "reading"
    QUEUED = "queued"  # waits for memory
    LINED = "lined"  # must be whole before it can move, and waits for memory or its turn
    HELD = "held"  # waits for its store: too much is on its way already
    DONE = "done"


READING, QUEUED, LINED, HELD, DONE = Standing


class Account:
    """One upload's share of the memory. Counts are slabs, on disk blocks of the same size."""

    __slots__ = ("age", "claim", "disk", "epoch", "flying", "grew_at", "held", "is_endless",
                 "may_end", "opened_at", "standing", "ticket")  # fmt: skip

    def __init__(
        self, age: int, opened_at: float, claim: int = 0, *, may_end: bool = False
    ) -> None:
        self.age = age  # orders uploads by when they were opened: the smaller, the older
        self.opened_at = opened_at
        # What a part that the reserve does not hold may need before it can move; 0: its parts can
        # leave early.
        self.claim = claim
        self.is_endless = False  # its only part is complete when the body is, however long that is
        self.may_end = may_end  # its task hears of it through `next_part`
        self.grew_at = opened_at  # when bytes came last, or when it was told to go on
        self.standing = READING
        self.ticket = NEVER  # its valid place in a queue; older places are stale
        self.epoch = NEVER  # when it grew last; NEVER: it has nothing to spill
        self.held = 0  # of the unfinished part
        self.disk = 0  # of the unfinished part
        self.flying = 0  # of complete parts that were not released yet
