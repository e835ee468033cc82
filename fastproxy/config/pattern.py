"""Path patterns of routes: `/api/*/files/**`.

A segment is literal, `*` (exactly one segment) or `**` (any number of segments, also none). One
slash at the end makes no difference, as most frameworks serve both spellings alike.
"""

import re
from functools import cache
from typing import Final

ONE: Final = "*"
ANY: Final = "**"

_FRAGMENTS: Final = {ONE: "/[^/]+", ANY: "(?:/[^/]*)*"}


class PathPattern:
    """One compiled pattern. Raises ValueError with a message for users."""

    __slots__ = ("fullmatch", "segments", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.segments = _segments(text)
        regex = re.compile("".join(_fragment(segment) for segment in self.segments))
        self.fullmatch = regex.fullmatch  # for decoded paths without the slash at their end

    def matches(self, path: str) -> bool:
        """Whether the pattern takes a decoded path, which starts with a slash."""
        return self.fullmatch(path.removesuffix("/")) is not None

    def covers(self, other: "PathPattern") -> bool:
        """Whether every path that `other` takes is taken by this one, too."""
        return _covers(self.segments, other.segments)


def _segments(text: str) -> tuple[str, ...]:
    if not text.startswith("/"):
        raise ValueError(f'"{text}" does not start with "/"')
    if any(mark in text for mark in "%?#;\\") or not text.isprintable():
        raise ValueError(
            f'"{text}" is matched on decoded paths: write it decoded, without ? # ; \\'
        )
    segments = tuple(text.removesuffix("/").split("/")[1:])
    for segment in segments:
        if segment in ("", ".", ".."):
            raise ValueError(f'"{text}" has an empty or dot segment: no normalised path matches it')
        if ONE in segment and segment not in (ONE, ANY):
            raise ValueError(f'"{segment}" in "{text}": `*` and `**` stand for whole segments')
    # Two of them before the end would backtrack in quadratic time on hostile paths.
    if segments[:-1].count(ANY) > 1:
        raise ValueError(f'"{text}" has more than one `**` before its end')
    return segments


def _fragment(segment: str) -> str:
    return _FRAGMENTS.get(segment) or "/" + re.escape(segment)


@cache
def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide:
        return not narrow
    if wide[0] == ANY:
        return _covers(wide[1:], narrow) or (bool(narrow) and _covers(wide, narrow[1:]))
    if not narrow or narrow[0] == ANY:
        return False
    return wide[0] in (ONE, narrow[0]) and _covers(wide[1:], narrow[1:])
