"""From a file, the environment and flags to one Config.

A flag wins over a FASTPROXY_SECTION__KEY variable, the variable over the file, the file over the
default. Whether the values make sense together is judged in check.py.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fastproxy.config.decode import decode
from fastproxy.config.lines import Lines
from fastproxy.config.overrides import FILE_ONLY, Override, from_environment, overlay
from fastproxy.config.problems import ConfigProblems, KeyPath, Problem, Severity
from fastproxy.config.schema import Config

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Source(Struct):
    """Where each value came from, and what is wrong with it."""

    path: str
    lines: Lines = field(default_factory=lambda: Lines(""))
    overrides: list[Override] = field(default_factory=list)
    broken: frozenset[KeyPath] = frozenset()

    def problem(
        self, key: KeyPath, message: str, hint: str = "", severity: Severity = Severity.ERROR
    ) -> Problem:
        """A problem that names the variable, the flag or the line of the file to look at."""
        for override in reversed(self.overrides):
            if key[: len(override.key)] == override.key:
                return Problem(key, message, hint, origin=override.origin, severity=severity)
        line = self.lines.find(key)
        return Problem(key, message, hint, line=line, origin=self.path, severity=severity)


def load(
    path: str | Path, env: Mapping[str, str] | None = None, flags: Sequence[Override] = ()
) -> Config:
    """Read, merge and decode; `env` defaults to os.environ. Raises ConfigProblems with all."""
    config, _, problems = read(path, env, flags)
    if problems:
        raise ConfigProblems(problems)
    return config


def read(
    path: str | Path, env: Mapping[str, str] | None = None, flags: Sequence[Override] = ()
) -> tuple[Config, Source, list[Problem]]:
    """What could be read, where each value came from, and what is wrong with the shape.

    Raises ConfigProblems only for what is no TOML file at all.
    """
    text = _read(str(path))
    raw = _parse(str(path), text)
    overrides, problems = from_environment(os.environ if env is None else env, raw)
    source = Source(str(path), Lines(text), [*overrides, *flags])

    def report(key: KeyPath, message: str, hint: str) -> None:
        problems.append(source.problem(key, message, hint))

    config, source.broken = decode(overlay(raw, source.overrides), report)
    return config, source, sorted(problems, key=lambda problem: problem.line or 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        hint = "name the file with --config or $FASTPROXY_CONFIG"
    except UnicodeDecodeError as error:
        message, hint = f"is not UTF-8 (byte {error.start})", ""
    raise ConfigProblems([Problem((), message, hint, origin=path)])


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblems([_syntax_problem(path, text, str(error))]) from None


def _syntax_problem(path: str, text: str, message: str) -> Problem:
    found = _POSITION.search(message)
    line, column = (int(found[1]), int(found[2])) if found and found[1] else (None, None)
    if found and not found[1]:
        line = text.count("\n") + 1
    said = _POSITION.sub("", message)
    hint = _syntax_hint(said)
    return Problem((), f"not TOML: {said}", hint, line=line, column=column, origin=path)


def _syntax_hint(said: str) -> str:
    """What usually is behind these words of tomllib."""
    if said == "Invalid value":
        return "text needs quotes"
    if twice := re.fullmatch(r"Cannot declare \('(\w+)',\) twice", said):
        name = twice[1]
        return f"write [[{name}]] for each" if name in FILE_ONLY else f"put all into one [{name}]"
    return ""
