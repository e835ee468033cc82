"""docs/configuration.md and the examples say what the schema says."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastproxy.config import schema
from fastproxy.config.check import load_judged
from fastproxy.config.json_schema import json_schema, written
from fastproxy.config.load import load
from fastproxy.config.shape import describe

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "configuration.md").read_text("utf-8")
EXAMPLE = (DOCS / "examples" / "complete.toml").read_text("utf-8")

SECTIONS = {
    "`[server]`": schema.Server,
    "`[[listener]]`": schema.Listener,
    "`[[listener.certificate]]`": schema.Certificate,
    "`[limits]`": schema.Limits,
    "`[memory]`": schema.Memory,
    "`[log]`": schema.Log,
    "`[auth]`": schema.Auth,
    "`[redis]`": schema.Redis,
    "`[redis.sentinel]`": schema.Sentinels,
    "`[backend.NAME]`": schema.Backend,
    "`[backend.NAME.send]`": schema.Send,
    '`[store.NAME]` with `type = "local"`': schema.LocalStore,
    '`[store.NAME]` with `type = "s3"`': schema.S3Store,
    "`[images]`": schema.Images,
    "`[git]`": schema.Git,
    "`[[route]]`": schema.Route,
    "`[route.queue]`": schema.Queue,
    '`[[route]]` with `action = "proxy"`': schema.ProxyRoute,
    "`[route.poll]`": schema.Poll,
    '`[[route]]` with `action = "upload"`': schema.UploadRoute,
    '`[[route]]` with `action = "form"`': schema.FormRoute,
    '`[[route]]` with `action = "git"`': schema.GitRoute,
    '`[[route]]` with `action = "channel"`': schema.ChannelRoute,
    '`[[route]]` with `action = "static"`': schema.StaticRoute,
    '`[[route]]` with `action = "fixed"`': schema.FixedRoute,
    '`[[route]]` with `action = "python"`': schema.PythonRoute,
    '`[[route]]` with `action = "asgi"`': schema.AsgiRoute,
}
SHARED = {field.name for field in msgspec.structs.fields(schema.Route)}


def default_of(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT:
        return "`{}`"
    return "unset" if field.default is None else f"`{json.dumps(written(field.default))}`"


def documented(heading: str) -> list[tuple[str, str, str, str]]:
    (section,) = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", section, re.MULTILINE)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_documented_with_kind_and_default(heading: str) -> None:
    table = SECTIONS[heading]
    is_route = issubclass(table, schema.Route) and table is not schema.Route
    expected = [
        (field.name, describe(field.type), default_of(field))
        for field in msgspec.structs.fields(table)
        if not (is_route and field.name in SHARED)
    ]
    rows = documented(heading)
    assert [row[:3] for row in rows] == expected
    assert all(row[3].strip() for row in rows)


def test_no_section_is_missing_from_the_reference() -> None:
    headings = re.findall(r"^## (.*)$", REFERENCE, re.MULTILINE)
    assert headings == list(SECTIONS)


def test_the_complete_example_is_good(tmp_path: Path) -> None:
    for place in ("state", "spill", "uploads", "log", "public", "etc"):
        (tmp_path / place).mkdir()
    for name, text in (
        ("secret", base64.b64encode(b"k" * 32)),
        ("access_key", b"A"),
        ("secret_key", b"B"),
    ):
        (tmp_path / "etc" / name).write_bytes(text)
        (tmp_path / "etc" / name).chmod(0o600)
    text = EXAMPLE.replace("/etc/fastproxy", f"{tmp_path}/etc")
    text = text.replace("/var/lib/fastproxy", f"{tmp_path}")
    text = text.replace("/var/log/fastproxy", f"{tmp_path}/log")
    text = text.replace("/srv/app/public", f"{tmp_path}/public")
    (tmp_path / "complete.toml").write_text(text)
    config, warnings = load_judged(tmp_path / "complete.toml", {}, imports=True)
    assert [each for each in warnings if each.key[-1] not in ("connections", "spill_dir")] == []
    assert {type(route).__name__ for route in config.route} == {
        "ProxyRoute",
        "UploadRoute",
        "FormRoute",
        "StaticRoute",
        "FixedRoute",
    }


def obeys(rule: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that we use."""
    if "oneOf" in rule:
        return sum(obeys(each, value) for each in rule["oneOf"]) == 1
    if "const" in rule:
        return bool(value == rule["const"])
    if "enum" in rule:
        return value in rule["enum"]
    if rule["type"] == "array":
        return isinstance(value, list) and all(obeys(rule["items"], each) for each in value)
    if rule["type"] == "object":
        return isinstance(value, dict) and object_obeys(rule, value)
    kind = {"string": str, "integer": int, "number": (int, float), "boolean": bool}[rule["type"]]
    return isinstance(value, kind) and (
        "pattern" not in rule or re.search(rule["pattern"], value) is not None
    )


def object_obeys(rule: dict[str, Any], value: dict[str, Any]) -> bool:
    known, rest = rule.get("properties", {}), rule["additionalProperties"]
    if not set(rule.get("required", ())) <= value.keys():
        return False
    rules = {key: known.get(key, rest) for key in value}
    return all(bool(rules[key]) and obeys(rules[key], value[key]) for key in value)


def test_the_json_schema_takes_the_example_and_no_unknown_key() -> None:
    import tomllib

    rule = json.loads(json.dumps(json_schema()))
    raw = tomllib.loads(EXAMPLE)
    assert obeys(rule, raw)
    assert not obeys(rule, {**raw, "servr": {}})
    assert not obeys(rule, {**raw, "memory": {"budget": 5}})
    assert not obeys(rule, {**raw, "route": [{"action": "proxi"}]})


def test_every_default_of_the_json_schema_can_be_written_in_the_file(tmp_path: Path) -> None:
    rule = json_schema()
    text = ""
    for section in ("server", "limits", "memory", "log", "auth", "git"):
        text += f"[{section}]\n"
        for key, value in rule["properties"][section]["properties"].items():
            if "default" in value:  # tables have none
                text += f"{key} = {json.dumps(value['default'])}\n"
    (tmp_path / "f.toml").write_text(text)
    assert load(tmp_path / "f.toml", {}) == schema.Config()
