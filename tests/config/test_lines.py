"""Which line a key stands on."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.lines import Lines

FILE = '''# a comment with [brackets] and key = 1
title = "x"
[server]
listen = [
  "a", # ] not the end
  "listen = 5",
]
workers = 2
text = """
[limits]
body = "not a key"
"""
[ backend . "my app" ]
address = 'http://x'
options.deep.key = 1
inline = { inner = 1, other = { more = 2 } }

[[route]]
path = "/a"
[route.headers]
X-A = "1"
[[route]]
path = "/b"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("title",), 2),
        (("server",), 3),
        (("server", "listen"), 4),
        (("server", "listen", 1), 4),
        (("server", "workers"), 8),
        (("server", "text"), 9),
        (("limits", "body"), None),
        (("backend", "my app"), 13),
        (("backend", "my app", "address"), 14),
        (("backend", "my app", "options", "deep", "key"), 15),
        (("backend", "my app", "inline", "other", "more"), 16),
        (("backend", "my app", "missing"), 13),
        (("route", 0), 18),
        (("route", 0, "path"), 19),
        (("route", 0, "headers", "X-A"), 21),
        (("route", 1), 22),
        (("route", 1, "path"), 23),
        (("nowhere",), None),
    ],
)
def test_a_key_is_found_on_its_line(key: tuple[str | int, ...], line: int | None) -> None:
    tomllib.loads(FILE)
    assert Lines(FILE).find(key) == line


@given(st.text(alphabet="[]{}=\"'\n\\#.,ab1 \t"))
def test_no_text_breaks_the_scanner(text: str) -> None:
    assert Lines(text).find(("a", "b")) in {None, *range(1, text.count("\n") + 2)}


NAMES = st.text(alphabet="abcxyz-_01", min_size=1, max_size=6)
VALUES = st.sampled_from(['"v"', "1", "[1, 2]", "[\n 1,\n]", '"""\na = 1\n[b]\n"""', "{ q = 1 }"])


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_every_key_of_a_written_file_is_found(tables: dict[str, dict[str, str]]) -> None:
    text, expected = "", {}
    for table, keys in tables.items():
        text += f"[{table}]\n"
        for key, value in keys.items():
            expected[table, key] = text.count("\n") + 1
            text += f"{key} = {value} # note\n"
    parsed: dict[str, Any] = tomllib.loads(text)
    assert parsed.keys() == tables.keys()
    lines = Lines(text)
    assert {key: lines.find(key) for key in expected} == expected
