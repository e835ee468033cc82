"""What of git is run, and what surrounds it: nothing that a client could have said.

The environment is made anew. Configuration comes from the repository, from ours and from the
backend, and not from the system or a home; it is passed on by variables, which are not parsed.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field

Settings = tuple[tuple[str, str], ...]

_PASSED_ON: Final = ("PATH", "TMPDIR", "TZ")
_FIXED: Final = {
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",  # what is missing here is not fetched from elsewhere
    "GIT_TERMINAL_PROMPT": "0",
}
# What would go on when the request is over, or lead to another machine.
_SETTINGS: Final[Settings] = (
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("receive.autogc", "false"),
)


class Command(Struct, frozen=True):
    """`git ARGUMENTS` in a repository, which is the directory of a descriptor.

    `path` is the repository's for git's own check of who owns it. `settings` overrule earlier ones.
    `is_writing`: it changes the repository, so it should end by itself. `program`: not git itself.
    """

    arguments: tuple[str, ...]
    directory: int
    path: str
    settings: Settings = ()
    is_writing: bool = False
    program: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """All variables of the process."""
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        settings = (*_SETTINGS, ("safe.directory", self.path), *self.settings)
        return {**passed_on, **_FIXED, "GIT_DIR": ".", **self.variables, **_configured(settings)}


def _configured(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """As git reads it: GIT_CONFIG_COUNT and a pair of variables each (git-config(1))."""
    variables: dict[str, str] = {}
    count = 0
    for count, (key, value) in enumerate(settings, 1):
        variables[f"GIT_CONFIG_KEY_{count - 1}"] = key
        variables[f"GIT_CONFIG_VALUE_{count - 1}"] = value
    return {**variables, "GIT_CONFIG_COUNT": str(count)}
