"""The schema as data: which keys a table has and of what kind they are."""

import types
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from fastproxy.config.schema import Duration, Size

Table = type[msgspec.Struct]


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the one kind itself; `None` is left out."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(member for member in get_args(kind) if member is not types.NoneType)
    return (kind,)


def is_table(kind: Any) -> bool:
    """Whether a value of this kind is written as a table of known keys."""
    return all(
        isinstance(each, type) and issubclass(each, msgspec.Struct) for each in members(kind)
    )


def tag_of(table: Table) -> tuple[str, str]:
    """The key that tells this table from its alternatives, and its value; "" without one."""
    config = table.__struct_config__
    return config.tag_field or "", str(config.tag or "")


def fields_of(table: Table) -> dict[str, Any]:
    """Every key that may be written in the table and its kind, the tag included."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(table)}
    tag_field, tag = tag_of(table)
    return {tag_field: Literal[tag], **kinds} if tag_field else kinds


def choices(kind: Any) -> tuple[str | int, ...]:
    """What a Literal allows, else nothing."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def describe(kind: Any) -> str:
    """The kind in words for users: "size", "list of text"."""
    if is_table(kind):
        return "table"
    if len(members(kind)) > 1:
        return " or ".join(map(describe, members(kind)))
    (kind,) = members(kind)
    if words := choices(kind):
        return " or ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in words)
    if get_origin(kind) is tuple:
        return f"list of {describe(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return f"table of {describe(get_args(kind)[1])}"
    names = {Size: "size", Duration: "duration", str: "text", int: "whole number"}
    return {**names, float: "number", bool: "true or false"}[kind]
