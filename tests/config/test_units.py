"""Sizes and durations as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import Duration, Size
from fastproxy.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("512B", 512),
        ("64KiB", 65536),
        ("16MiB", 16 << 20),
        ("1GiB", 1 << 30),
        ("5120GiB", 5 << 40),
        (" 8 MiB ", 8 << 20),
    ],
)
def test_sizes_carry_their_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1.5s", 1.5), ("30s", 30), ("5m", 300), ("4h", 14400), ("0s", 0)],
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert type(parse_duration(text)) is Duration


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (16, '16 is not a size: a size needs its unit, e.g. "16MiB"'),
        ("16", 'a size needs its unit, e.g. "16MiB"'),
        ("16MB", 'did you mean "MiB"?'),
        ("16mib", 'did you mean "MiB"?'),
        ("16k", 'did you mean "KiB"?'),
        ("1.5MiB", "is not a size"),
        ("-1KiB", "is not a size"),
        ("MiB", "is not a size"),
        ("16XiB", "a size needs its unit"),
        ("٣KiB", "is not a size"),
        ("9" * 5000 + "B", "is not a size"),
        (None, "is not a size"),
        (True, "is not a size"),
    ],
)
def test_a_bad_size_is_explained(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (30, '30 is not a duration: a duration needs its unit, e.g. "30s"'),
        (1.5, "is not a duration"),
        ("30", 'a duration needs its unit, e.g. "30s"'),
        ("30S", 'did you mean "s"?'),
        ("30 seconds", '"30 seconds" is not a duration: a duration needs its unit'),
        ("-1s", "is not a duration"),
        ("1e3s", "a duration needs its unit"),
        (".5s", "is not a duration"),
        ("", "is not a duration"),
    ],
)
def test_a_bad_duration_is_explained(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_duration(value)


@given(st.integers(0, 1 << 59))
def test_any_size_survives_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.floats(0.000001, 1e12, allow_nan=False) | st.integers(0, 10**12).map(float))
def test_any_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5m"), (14400, "4h"), (0.5, "500ms"), (90, "90s"), (0, "0s")]
)
def test_durations_are_written_with_the_largest_fitting_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(65536, "64KiB"), (1000, "1000B"), (3 << 30, "3GiB"), (0, "0B")]
)
def test_sizes_are_written_with_the_largest_fitting_unit(size: int, text: str) -> None:
    assert format_size(size) == text
