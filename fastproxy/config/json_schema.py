"""The configuration's JSON Schema, for editors (Even Better TOML, taplo) and for the reference.

msgspec's own generator cannot encode our sizes and durations as defaults, so this walks the same
structs by hand.
"""

from typing import Any, Final, get_args, get_origin

import msgspec

from fastproxy.config.schema import Config, Duration, Size
from fastproxy.config.shape import choices, is_table, members, tag_of
from fastproxy.config.units import DURATION_UNITS, SIZE_UNITS, format_duration, format_size

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_LEAVES: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Size: {"type": "string", "pattern": f"^[0-9]+ ?({'|'.join(SIZE_UNITS)})$"},
    Duration: {"type": "string", "pattern": f"^[0-9]+(\\.[0-9]+)? ?({'|'.join(DURATION_UNITS)})$"},
}


def json_schema() -> dict[str, Any]:
    """The whole file as JSON Schema, draft 2020-12."""
    return {"$schema": _DRAFT, "title": "fastproxy", **_kind(Config)}


def written(value: Any) -> Any:
    """A value as it stands in the file: sizes and durations with their unit."""
    if isinstance(value, Size):
        return format_size(value)
    if isinstance(value, Duration):
        return format_duration(value)
    return list(value) if isinstance(value, tuple) else value


def _kind(kind: Any) -> dict[str, Any]:
    if is_table(kind):
        tables = [_table(member) for member in members(kind)]
        return tables[0] if len(tables) == 1 else {"oneOf": tables}
    (inner,) = members(kind)
    if words := choices(inner):
        return {"enum": list(words)}
    if get_origin(inner) is tuple:
        return {"type": "array", "items": _kind(get_args(inner)[0])}
    if get_origin(inner) is dict:
        return {"type": "object", "additionalProperties": _kind(get_args(inner)[1])}
    return dict(_LEAVES[inner])


def _table(table: Any) -> dict[str, Any]:
    tag_field, tag = tag_of(table)
    properties: dict[str, Any] = {tag_field: {"const": tag}} if tag_field else {}
    required = [tag_field] if tag_field else []
    for field in msgspec.structs.fields(table):
        properties[field.name] = _kind(field.type)
        if field.required:
            required.append(field.name)
        elif _has_plain_default(field):
            properties[field.name]["default"] = written(field.default)
    return {
        "type": "object",
        "description": (table.__doc__ or "").strip(),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _has_plain_default(field: msgspec.structs.FieldInfo) -> bool:
    """Tables within tables and "unset" (None) have no default worth writing."""
    is_given = field.default is not msgspec.NODEFAULT and field.default is not None
    return is_given and not is_table(field.type)
