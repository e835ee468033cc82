"""TOML values into the schema, with every problem at once (msgspec alone stops at the first).

Where a value is broken, its default or an empty one stands in, so that the rest can be judged.
"""

from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

import msgspec

from fastproxy.config.overrides import Override
from fastproxy.config.problems import KeyPath, among, closest, nearest, suggested
from fastproxy.config.schema import Config, Duration, Size
from fastproxy.config.shape import (
    Table,
    choices,
    describe,
    fields_of,
    is_table,
    members,
    tag_of,
)
from fastproxy.config.units import parse_duration, parse_size

Report = Callable[[KeyPath, str, str], None]

_BROKEN: Final = object()  # stands for a value that has been reported


def decode(raw: dict[str, Any], report: Report) -> tuple[Config, frozenset[KeyPath]]:
    """The configuration and its keys that are broken, of which `report(key, message, hint)` told.

    What is broken, and what is beneath it, is a stand-in: nobody wrote its value.
    """
    decoder = _Decoder(report)
    config: Config = decoder.table(Config, raw, ())
    return config, frozenset(decoder.broken)


class _Decoder:
    def __init__(self, report: Report) -> None:
        self._report = report
        self.broken: set[KeyPath] = set()

    def value(self, kind: Any, value: Any, key: KeyPath) -> Any:
        if is_table(kind):
            return self._choose(kind, value, key)
        (inner,) = members(kind)
        origin = get_origin(inner)
        if origin is tuple:
            return self._array(inner, value, key)
        if origin is dict:
            return self._named(get_args(inner)[1], value, key)
        return self._leaf(inner, value, key)

    def table(self, table: Table, value: Any, key: KeyPath) -> Any:
        """One struct; unknown, missing and broken keys are all reported."""
        if not isinstance(value, dict):
            return self._fail(key, "expected a table", f"write [{'.'.join(map(str, key))}]")
        self._unknown_keys(value, list(fields_of(table)), key)
        given = {}
        for field in msgspec.structs.fields(table):
            if field.name in value:
                given[field.name] = self.value(field.type, value[field.name], (*key, field.name))
            elif field.required and (*key, field.name) not in self.broken:
                self._fail((*key, field.name), "is missing")
        good = {name: each for name, each in given.items() if each is not _BROKEN}
        return table(**{**_required(table), **good})

    def _unknown_keys(self, value: dict[str, Any], known: list[str], key: KeyPath) -> None:
        """A key that was only misspelled is there: its absence is no second problem."""
        absent = [name for name in known if name not in value]
        for word in value.keys() - set(known):
            meant = closest(word, absent)
            self._fail((*key, word), "unknown key", suggested(meant) or among(known))
            if meant:
                self.broken.add((*key, meant))

    def _choose(self, kind: Any, value: Any, key: KeyPath) -> Any:
        """Of several tables the one whose tag is written."""
        alternatives = members(kind)
        if len(alternatives) == 1 or not isinstance(value, dict):
            return self.table(alternatives[0], value, key)
        tags = {tag_of(member)[1]: member for member in alternatives}
        tag_field = tag_of(alternatives[0])[0]
        if tag_field not in value:
            if written := closest(tag_field, list(value)):
                hint = f'did you mean "{tag_field}"?'
                return self._fail((*key, written), "unknown key", hint)
            return self._fail((*key, tag_field), "is missing", f"one of: {', '.join(tags)}")
        tag = value[tag_field]
        word = tag.text if isinstance(tag, Override) else tag
        if not isinstance(word, str) or word not in tags:
            hint = nearest(str(word), list(tags))
            return self._fail((*key, tag_field), f'unknown {tag_field} "{word}"', hint)
        return self.table(tags[word], value, key)

    def _array(self, kind: Any, value: Any, key: KeyPath) -> Any:
        item = get_args(kind)[0]
        if isinstance(value, Override):
            words = [word.strip() for word in value.text.split(",") if word.strip()]
            value = [Override(value.key, word, value.origin) for word in words]
        if not isinstance(value, list):
            hint = f"write [[{key[-1]}]]" if is_table(item) else f'e.g. {key[-1]} = ["..."]'
            return self._fail(key, f"expected a {describe(kind)}", hint)
        items = [self._item(item, each, (*key, at)) for at, each in enumerate(value)]
        return _BROKEN if any(each is _BROKEN for each in items) else tuple(items)

    def _named(self, kind: Any, value: Any, key: KeyPath) -> Any:
        if not isinstance(value, dict):
            hint = f"write [{key[-1]}.NAME]" if is_table(kind) else ""
            return self._fail(key, f"expected a table of {describe(kind)}", hint)
        if is_table(kind):
            value = self._with_names(value, key)
        items = {name: self._item(kind, each, (*key, name)) for name, each in value.items()}
        return _BROKEN if any(each is _BROKEN for each in items.values()) else items

    def _with_names(self, value: dict[str, Any], key: KeyPath) -> dict[str, Any]:
        """The tables among the values. Others were meant for one whose name is missing."""
        loose = [name for name, each in value.items() if not isinstance(each, dict)]
        if loose:
            hint = f"each {key[-1]} has a name: write [{key[-1]}.default]"
            self._fail((*key, loose[0]), "expected a table", hint)
        return {name: each for name, each in value.items() if name not in loose}

    def _item(self, kind: Any, value: Any, key: KeyPath) -> Any:
        """A broken table keeps its place: others are found by their number and name."""
        item = self.value(kind, value, key)
        if item is _BROKEN and is_table(kind):
            self.broken.add(key)
            table = members(kind)[0]
            return table(**_required(table))
        return item

    def _leaf(self, kind: Any, value: Any, key: KeyPath) -> Any:
        text = value.text if isinstance(value, Override) else value
        got = f'"{text}"' if isinstance(text, str) else str(text)
        got = got.lower() if isinstance(text, bool) else got  # as TOML writes it
        if (allowed := choices(kind)) and text not in allowed:
            words = [str(each) for each in allowed]
            hint = suggested(closest(str(text), words))
            return self._fail(key, f"{got} is not one of {', '.join(words)}", hint)
        try:
            if kind is Size:
                return parse_size(text)
            if kind is Duration:
                return parse_duration(text)
            # Only text from outside of the file may be read as a number or as true.
            return msgspec.convert(text, kind, strict=not isinstance(value, Override))
        except msgspec.ValidationError:
            return self._fail(key, f"expected {describe(kind)}, got {got}")
        except ValueError as error:
            return self._fail(key, str(error))

    def _fail(self, key: KeyPath, message: str, hint: str = "") -> Any:
        self._report(key, message, hint)
        self.broken.add(key)
        return _BROKEN


def _required(table: Table) -> dict[str, str | int]:
    """Stand-ins of the keys without a default, which are all text or numbers."""
    fields = (field for field in msgspec.structs.fields(table) if field.required)
    return {field.name: 0 if field.type is int else "" for field in fields}
