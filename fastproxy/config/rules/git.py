"""Rules on what git routes run, and where."""

import re
import shutil
from collections.abc import Iterator
from typing import Final

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.places import readable_directory, writable_directory
from fastproxy.config.schema import Config, Git, GitRoute

KEY: Final = ("git",)
_SETTING: Final = re.compile(
    r"[A-Za-z0-9-]+\.(?:[^\n\0=]*\.)?[A-Za-z][A-Za-z0-9-]*"
)  # git-config(1)


def check_git(config: Config, source: Source) -> Iterator[Problem]:
    """The root is there, git can be run, and a push runs only the hooks that somebody meant."""
    git = config.git
    sends = (backend.send is not None and backend.send.git for backend in config.backend.values())
    if any(isinstance(route, GitRoute) for route in config.route) or any(sends):
        if not git.root:
            yield source.problem(
                (*KEY, "root"), "is required by git routes: the directory of all repositories"
            )
        yield from _program(git, source)
    elif git != Git():
        yield source.problem(KEY, "no route and no backend uses it", severity=Severity.WARNING)
    if git.root:
        yield from readable_directory(source, (*KEY, "root"), git.root)
    if git.archive_cache:
        yield from writable_directory(source, (*KEY, "archive_cache"), git.archive_cache)
    if git.hooks not in ("", "repository"):
        yield from readable_directory(source, (*KEY, "hooks"), git.hooks)
    for name in git.config:
        if not _SETTING.fullmatch(name):
            key: KeyPath = (*KEY, "config", name)
            yield source.problem(key, "is not the name of a setting", 'e.g. "pack.threads"')


def _program(git: Git, source: Source) -> Iterator[Problem]:
    if shutil.which(git.program) is None:
        message = f'"{git.program}" cannot be run'
        yield source.problem((*KEY, "program"), message, "install git, or write where it is")
