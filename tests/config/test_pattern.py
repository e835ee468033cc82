"""Path patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.pattern import PathPattern


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        ("/", ["/"], ["/a"]),
        ("/a", ["/a", "/a/"], ["/", "/ab", "/a/b", "/A", "/a//"]),
        ("/a/", ["/a", "/a/"], ["/a/b"]),
        ("/a/*", ["/a/b", "/a/b/"], ["/a", "/a/", "/a/b/c"]),
        ("/a/*/c", ["/a/b/c"], ["/a/c", "/a/b/b/c", "/a//c"]),
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c/", "/a//b"], ["/", "/ab", "/b/a"]),
        ("/**", ["/", "/a", "/a/b/c", "//"], []),
        ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z"], ["/a", "/a/b", "/a/z/b"]),
        ("/a/**/z/**", ["/a/z", "/a/b/z/y"], ["/a/b"]),
        ("/a.b+c", ["/a.b+c"], ["/axb+c", "/a.bbc"]),
        ("/ü", ["/ü"], ["/u"]),
    ],
)
def test_a_pattern_takes_what_it_says(pattern: str, taken: list[str], refused: list[str]) -> None:
    compiled = PathPattern(pattern)
    assert [path for path in taken if not compiled.matches(path)] == []
    assert [path for path in refused if compiled.matches(path)] == []


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", 'does not start with "/"'),
        ("a", 'does not start with "/"'),
        ("/a//b", "empty or dot segment"),
        ("/a/../b", "empty or dot segment"),
        ("/a*", "whole segments"),
        ("/***", "whole segments"),
        ("/a%20b", "write it decoded"),
        ("/a?b", "write it decoded"),
        ("/a\tb", "write it decoded"),
        ("/**/a/**/b", "more than one `**`"),
    ],
)
def test_a_bad_pattern_is_explained(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        PathPattern(pattern)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("/**", "/a/b", True),
        ("/**", "/**", True),
        ("/a/*", "/a/b", True),
        ("/a/b", "/a/*", False),
        ("/a/*", "/a/**", False),
        ("/a/**", "/a", True),
        ("/a/**", "/a/*/c/**", True),
        ("/a/**/z", "/a/b/z", True),
        ("/a/**/z", "/a/**", False),
        ("/a", "/a/", True),
    ],
)
def test_wide_patterns_cover_narrow_ones(wide: str, narrow: str, expected: bool) -> None:
    assert PathPattern(wide).covers(PathPattern(narrow)) is expected


SEGMENTS = st.lists(st.sampled_from(["a", "b", "*"]), max_size=4)
PATTERNS = st.builds(
    lambda head, middle, tail: "/" + "/".join([*head, *middle, *tail]),
    SEGMENTS,
    st.sampled_from([[], ["**"]]),
    SEGMENTS,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5).map(
    lambda each: "/" + "/".join(each)
)


@given(PATTERNS, PATTERNS, PATHS)
def test_what_the_covered_takes_the_covering_takes(wide: str, narrow: str, path: str) -> None:
    if PathPattern(wide).covers(PathPattern(narrow)) and PathPattern(narrow).matches(path):
        assert PathPattern(wide).matches(path)


@given(PATTERNS, PATHS)
def test_a_literal_path_is_covered_exactly_when_it_is_taken(pattern: str, path: str) -> None:
    assert PathPattern(pattern).covers(PathPattern(path)) == PathPattern(pattern).matches(path)
