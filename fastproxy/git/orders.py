"""What a backend may order to be sent out of a repository, as values: judged, nothing is run here.

Every order names its `repository` beneath the root. Nothing of an order becomes an option of a
program, or a path outside of the repository. Ids are those of objects in full, so an answer never
changes. A key that is not known is an error, as it may be a restriction.
"""

import re
from enum import Enum
from typing import Annotated, Final, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\Z")]

Format = Literal["tar", "tar.gz", "tar.bz2", "zip"]

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{0,512}")
_MOST_EXCLUDED: Final = 64


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    repository: str


class Blob(_Order, frozen=True, kw_only=True):
    """One file's content, by its id."""

    oid: Id


class Difference(_Order, frozen=True, kw_only=True):
    """From one commit to another: for a diff, or as patches."""

    left: Id
    right: Id


class Snapshot(_Order, frozen=True, kw_only=True):
    """A whole repository."""


class Pointers(Enum):
    """What to do with an archive that holds pointers of git LFS in place of files."""

    SEND = "send"
    WARN = "warn"  # send it, and say so in the log
    REFUSE = "refuse"


class Archive(_Order, frozen=True, kw_only=True):
    """The files of a commit, or of what is at `path` in it, each name with `prefix` before it.

    `exclude`: paths in the commit that are left out. `elide`: names begin behind `path`, which is a
    directory.
    """

    commit: Id
    format: Format = "tar.gz"
    prefix: str = ""
    path: str = ""
    exclude: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_EXCLUDED)] = ()
    elide: bool = False
    pointers: Pointers = Pointers.SEND
    cache: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec makes a ValidationError."""
        for name in (self.prefix, self.path, *self.exclude):
            if not _NAME.fullmatch(name) or name.startswith("/") or ".." in name.split("/"):
                raise ValueError("names are relative, without control characters")
        for name in (self.path, *self.exclude):
            if name.startswith(("-", ":")):
                raise ValueError("a path that could be an option, or a pattern")
        for name in map(_plain, self.exclude):
            if not name or (self._elided and not name.startswith(self._elided)):
                raise ValueError("what is excluded is a part of what is at the path")

    @property
    def _elided(self) -> str:
        """What the names of its files do not begin with."""
        return f"{_plain(self.path)}/" if self.elide and _plain(self.path) else ""

    @property
    def contents(self) -> tuple[str, ...]:
        """For `git archive`: a tree, and which paths of it. None of them is an option."""
        path, elided = _plain(self.path), self._elided
        tree = f"{self.commit}:{path}" if elided else self.commit
        chosen = (f":(top,literal){path}",) if path and not elided else ()
        left_out = (_plain(name)[len(elided) :] for name in self.exclude)
        return (tree, *chosen, *(f":(top,exclude,literal){name}" for name in left_out))

    @property
    def file_name(self) -> str:
        """What it may be called."""
        stem = self.prefix.strip("/").replace("/", "-") or self.commit[:12]
        return f"{stem}.{self.format}"


def _plain(path: str) -> str:
    """Without what means nothing in it."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
