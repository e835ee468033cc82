"""On which line of a TOML file a key stands.

tomllib tells no positions, so this small scanner finds headers and `key =` lines. It trusts that
tomllib has accepted the text; what stands inside an inline table or array has its first line.
"""

import re

from fastproxy.config.problems import KeyPath

_OPAQUE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_WORD = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = rf"{_WORD}(?:\s*\.\s*{_WORD})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_PART = re.compile(_WORD)
_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'""")


class Lines:
    """Key paths of one text and their lines, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}  # entries seen of each [[array of tables]]
        self._table: KeyPath = ()
        depth = 0
        for number, line in enumerate(_OPAQUE.sub(_flatten, text).split("\n"), 1):
            if depth <= 0:
                depth = self._outer_line(line, number)
            else:
                depth += _nesting(line)

    def find(self, key: KeyPath) -> int | None:
        """The line of `key`, or of the nearest table around it."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[:-1]
        return None

    def _outer_line(self, line: str, number: int) -> int:
        """Note what a line outside of any value says; the nesting it leaves open."""
        if header := _HEADER.match(line):
            self._enter(_words(header[2]), number, is_array=header[1] == "[[")
            return 0
        if key := _KEY.match(line):
            self._note(self._table, _words(key[1]), number)
            return _nesting(line[key.end() :])
        return 0

    def _enter(self, words: list[str], number: int, *, is_array: bool) -> None:
        table: KeyPath = ()
        for word in words[:-1]:
            table = self._current((*table, word))
            self._lines.setdefault(table, number)
        last: KeyPath = (*table, words[-1])
        if is_array:
            self._counts[last] = self._counts.get(last, 0) + 1
        self._table = self._current(last)
        self._note(table, words[-1:], number)
        self._lines[self._table] = number

    def _current(self, table: KeyPath) -> KeyPath:
        """Inside an array of tables a name means its latest entry."""
        count = self._counts.get(table)
        return (*table, count - 1) if count else table

    def _note(self, table: KeyPath, words: list[str], number: int) -> None:
        for word in words:
            table = (*table, word)
            self._lines.setdefault(table, number)


def _flatten(match: re.Match[str]) -> str:
    """Comments vanish; a string over several lines becomes empty ones."""
    found = match[0]
    if found.startswith("#"):
        return ""
    return '""' + "\n" * found.count("\n") if found.startswith(('"""', "'''")) else found


def _nesting(line: str) -> int:
    bare = _QUOTED.sub("", line)
    return sum(bare.count(opening) for opening in "[{") - sum(bare.count(end) for end in "]}")


def _words(dotted: str) -> list[str]:
    return [word[1:-1] if word[0] in "\"'" else word for word in _PART.findall(dotted)]
