"""Sizes and durations as people write them: "64KiB", "1.5s".

A bare number is refused: nobody remembers whether a timeout was in seconds or milliseconds.
"""

import re
from decimal import Decimal
from typing import Final

from fastproxy.config.schema import Duration, Size

SIZE_UNITS: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
DURATION_UNITS: Final = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}

_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]*)")
_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,40})?) ?([A-Za-z]*)")
_SIZE_HINT = 'a size needs its unit, e.g. "16MiB" (B, KiB, MiB or GiB)'
_DURATION_HINT = 'a duration needs its unit, e.g. "30s" (ms, s, m or h)'


def parse_size(value: object) -> Size:
    """Bytes from "512B", "64KiB", "16MiB" or "1GiB". Raises ValueError with a message for users."""
    if isinstance(value, Size):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{_shown(value)} is not a size: {_SIZE_HINT}")
    number, unit = match.groups()
    if unit not in SIZE_UNITS:
        hint = _unit_hint(unit, SIZE_UNITS, _SIZE_HINT)
        raise ValueError(f"{_shown(value)} is not a size: {hint}")
    return Size(int(number) * SIZE_UNITS[unit])


def parse_duration(value: object) -> Duration:
    """Seconds from "500ms", "1.5s", "5m" or "4h". Raises ValueError with a message for users."""
    if isinstance(value, Duration):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{_shown(value)} is not a duration: {_DURATION_HINT}")
    number, unit = match.groups()
    if unit not in DURATION_UNITS:
        hint = _unit_hint(unit, DURATION_UNITS, _DURATION_HINT)
        raise ValueError(f"{_shown(value)} is not a duration: {hint}")
    return Duration(Decimal(number) * DURATION_UNITS[unit])


def format_size(size: int) -> str:
    """The shortest exact spelling: 65536 is "64KiB", 1000 is "1000B"."""
    if not size:
        return "0B"
    unit, scale = next(pair for pair in SIZE_UNITS.items() if size % pair[1] == 0)
    return f"{size // scale}{unit}"


def format_duration(seconds: float) -> str:
    """The shortest exact spelling: 300.0 is "5m", 0.5 is "500ms", 90.25 is "90250ms"."""
    exact = Decimal(repr(float(seconds)))
    if not exact:
        return "0s"
    for unit, scale in DURATION_UNITS.items():
        count = exact / scale
        if count == count.to_integral_value():
            return f"{int(count)}{unit}"
    return f"{exact:f}s"


def _unit_hint(unit: str, known: dict[str, int] | dict[str, Decimal], hint: str) -> str:
    if not unit:
        return hint
    same = [name for name in known if name.lower() in (unit.lower(), f"{unit.lower()[:1]}ib")]
    return f'"{unit}" is not a unit, did you mean "{same[0]}"?' if same else hint


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
