"""The values of the suite: whom we measure, what we ask, what we want to see."""

import os
import shutil
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OURS = "fastproxy"
# Debian keeps servers where the $PATH of ordinary users does not look.
_SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find_program(name: str) -> str | None:
    """Where the program is, or None."""
    return shutil.which(name, path=_SEARCHED)


@dataclass(frozen=True, slots=True)
class Need:
    """A program of a Debian package, or else a module: of a package of PyPI, or ours, which
    `command` compiles."""

    name: str
    debian: str = ""
    pypi: str = ""
    command: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is installed."""
        return bool(find_program(self.name) if self.debian else find_spec(self.name))

    def __str__(self) -> str:
        if self.command:
            return f"{self.name} (compiled by: {self.command})"
        kind, package = ("Debian", self.debian) if self.debian else ("PyPI", self.pypi)
        return f"{self.name} ({kind}: {package})"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contestant is set up. `directory`: its own; `origin`: port of the backend."""

    directory: Path
    origin: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant that runs and answers. `pid`: of the process that has all its others."""

    name: str
    port: int
    pid: int
    directory: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """What can be started. `name`: its column; it is left out while a need is not met."""

    name: str
    start: Callable[[Site], AbstractContextManager[Peer]]
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Our figure is at most `limit`, times that of `than` where it is given; or at least."""

    limit: float
    than: str = ""
    at_least: bool = False

    def compare(self, figures: dict[str, float]) -> float | None:
        """What stands beside the limit; None: it could not be measured."""
        if OURS not in figures or (self.than and self.than not in figures):
            return None
        return figures[OURS] / figures[self.than] if self.than else figures[OURS]

    def is_met(self, figures: dict[str, float]) -> bool | None:
        """None: it could not be measured."""
        found = self.compare(figures)
        if found is None:
            return None
        return found >= self.limit if self.at_least else found <= self.limit


@dataclass(frozen=True, slots=True)
class Question:
    """One figure of each contestant, less being better unless the target says otherwise.

    `ask(peer, scale)` measures once. `scale` is 1.0 in a full run and less with --quick: seconds
    and bytes are to be multiplied by it. `pick` chooses among the rounds, of which there are at
    most `rounds`. `known` is a figure from elsewhere, for orientation only.
    """

    title: str
    unit: str
    ask: Callable[[Peer, float], float]
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...] = ()
    needs: tuple[Need, ...] = ()
    pick: Callable[[list[float]], float] = statistics.median
    rounds: int = 1000
    known: str = ""
