"""Two lines before one door: who waits for a connection to a backend.

When thousands of uploads begin at once, each has a question for the backend. In one line with them
every page would wait for thousands of questions; so each kind has a line of its own, and where both
are waited in, they are served in turns. Neither can keep the other waiting for long.
"""

from collections import OrderedDict
from enum import IntEnum
from typing import Generic, TypeVar

Who = TypeVar("Who")
What = TypeVar("What")


class Line(IntEnum):
    """In which to wait."""

    REQUESTS = 0
    QUESTIONS = 1  # before a body is taken over


class Lines(Generic[Who, What]):
    """Each who is in one line at most, and has something with him. `count`: how many wait, which
    is asked after every request: to ask methods in Python took 7 % of a small one."""

    __slots__ = ("_last", "_lines", "count")

    def __init__(self) -> None:
        self._lines: tuple[OrderedDict[Who, What], ...] = tuple(OrderedDict() for _ in Line)
        self._last = Line.QUESTIONS  # who was served last
        self.count = 0

    def length(self, line: Line) -> int:
        """How many wait in this one."""
        return len(self._lines[line])

    def join(self, line: Line, who: Who, what: What) -> None:
        """Wait at its end. Whoever waits already may not."""
        self._lines[line][who] = what
        self.count += 1

    def leave(self, who: Who) -> What | None:
        """Wait no more; None: he did not."""
        for line in self._lines:
            if (what := line.pop(who, None)) is not None:
                self.count -= 1
                return what
        return None

    def next(self) -> tuple[Who, What] | None:
        """Whose turn it is."""
        for line in (Line(1 - self._last), self._last):
            if self._lines[line]:
                self._last = line
                self.count -= 1
                return self._lines[line].popitem(last=False)
        return None
