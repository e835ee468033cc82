"""What is wrong with a configuration, said so that it can be found and mended."""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from fastproxy.errors import OwnFault

KeyPath = tuple[str | int, ...]


class Severity(Enum):
    """An error stops the start; a warning is only said."""

    ERROR = "error"
    WARNING = "warning"


class Problem(Struct, frozen=True):
    """One thing to mend. `origin`: the file, variable or flag; `line` counts from 1."""

    key: KeyPath
    message: str
    hint: str = ""
    line: int | None = None
    column: int | None = None
    origin: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = ":".join(str(item) for item in (self.origin, self.line, self.column) if item)
        said = [place, "warning" if self.severity is Severity.WARNING else "", show_key(self.key)]
        hint = f" ({self.hint})" if self.hint else ""
        return ": ".join([*filter(None, said), self.message]) + hint


class ConfigProblems(OwnFault):
    """The configuration cannot be used. `problems` holds everything found, not only the first."""

    kind = "config"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def show_key(key: KeyPath) -> str:
    """("route", 2, "path") as "route[2].path"."""
    shown = "".join(f"[{item}]" if isinstance(item, int) else f".{item}" for item in key)
    return shown.removeprefix(".")


def closest(word: str, known: Sequence[str]) -> str:
    """The known word most like `word`; "" when none is."""
    from difflib import get_close_matches  # every process of a good configuration does without

    return next(iter(get_close_matches(word.lower(), known, n=1, cutoff=0.6)), "")


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint that names the known word most like `word`, else all the known ones."""
    return suggested(closest(word, known)) or among(known)


def suggested(word: str) -> str:
    """A hint that names it; "" when there is none."""
    return f'did you mean "{word}"?' if word else ""


def among(known: Sequence[str]) -> str:
    """A hint that names all the known words."""
    return f"known here: {', '.join(known)}" if known else ""
