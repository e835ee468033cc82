"""Values given outside of the file: FASTPROXY_SECTION__KEY variables and command-line flags.

A backend or store that the file names is found again whatever its case and with `_` for `-`;
another name makes a new one, in lower case. Listeners and routes live in the file only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from fastproxy.config.problems import KeyPath, Problem, nearest
from fastproxy.config.schema import AnyStore, Backend, Config
from fastproxy.config.shape import fields_of, members

PREFIX: Final = "FASTPROXY_"
FILE_VARIABLE: Final = "FASTPROXY_CONFIG"  # names the file itself

# Kubernetes sets these in every pod beside a Service called "fastproxy" or "fastproxy-...".
_SERVICE_LINK = re.compile(
    r"FASTPROXY(?:_[A-Z0-9]+)*?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
FILE_ONLY: Final = ("listener", "route")
_NAMED: Final[dict[str, Any]] = {"backend": Backend, "store": AnyStore}


class Override(Struct, frozen=True):
    """One value as text. `origin` is the variable or flag it came from."""

    key: KeyPath
    text: str
    origin: str


Found = tuple[list[Override], list[Problem]]


def from_environment(env: Mapping[str, str], raw: Mapping[str, Any]) -> Found:
    """What the variables say; `raw` is the file's content, for the names it has already."""
    overrides, problems = [], []
    for name in sorted(env):
        if not name.startswith(PREFIX) or name == FILE_VARIABLE or _SERVICE_LINK.fullmatch(name):
            continue
        key = _key_of(name, raw)
        if isinstance(key, Problem):
            problems.append(key)
        else:
            overrides.append(Override(key, env[name], name))
    return overrides, problems


def overlay(raw: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """`raw` with every override put at its key, later ones over earlier ones."""
    for override in overrides:
        raw = _put(raw, override.key, override)
    return raw


def _put(table: dict[str, Any], key: KeyPath, override: Override) -> dict[str, Any]:
    head, rest = str(key[0]), key[1:]
    if not rest:
        return {**table, head: override}
    inner = table.get(head, {})
    return {**table, head: _put(inner, rest, override)} if isinstance(inner, dict) else table


def _key_of(name: str, raw: Mapping[str, Any]) -> KeyPath | Problem:
    """FASTPROXY_BACKEND__DEFAULT__ADDRESS as ("backend", "default", "address")."""
    words = name.removeprefix(PREFIX).lower().split("__")
    section, rest = words[0], words[1:]
    tables = [field.name for field in msgspec.structs.fields(Config) if field.name not in FILE_ONLY]
    if section in FILE_ONLY:
        return Problem((), f"{section}s are set in the file only", origin=name)
    if section not in tables:
        return _without_section(name, section, tables)
    if section in _NAMED:
        if len(rest) != 2:
            return _misshapen(name, f"{PREFIX}{section.upper()}__NAME__KEY")
        return _checked(name, (section, _existing(rest[0], raw.get(section))), rest[1])
    if len(rest) != 1:
        return _misshapen(name, f"{PREFIX}{section.upper()}__KEY")
    return _checked(name, (section,), rest[0])


def _checked(name: str, table: KeyPath, word: str) -> KeyPath | Problem:
    section = str(table[0])
    kind = _NAMED.get(section) or type(getattr(Config(), section))
    known = sorted({key for member in members(kind) for key in fields_of(member)})
    return (*table, word) if word in known else _unknown(name, word, known)


def _existing(word: str, tables: object) -> str:
    names = tables if isinstance(tables, dict) else {}
    return next((name for name in names if name.lower().replace("-", "_") == word), word)


def _unknown(variable: str, word: str, known: Sequence[str]) -> Problem:
    return Problem((), f'unknown key "{word}"', nearest(word, known), origin=variable)


def _without_section(variable: str, word: str, tables: Sequence[str]) -> Problem:
    """The key may be right, with its section left out or a single underscore behind it."""
    keys = [
        f"{table}__{key}"
        for table in tables
        if table not in _NAMED
        for key in fields_of(type(getattr(Config(), table)))
    ]
    for key in keys:
        if word in (key.partition("__")[2], key.replace("__", "_")):
            hint = f"did you mean {PREFIX}{key.upper()}?"
            return Problem((), f'unknown key "{word}"', hint, origin=variable)
    return _unknown(variable, word, tables)


def _misshapen(variable: str, shape: str) -> Problem:
    return Problem((), "this names no key", f"write {shape}", origin=variable)
