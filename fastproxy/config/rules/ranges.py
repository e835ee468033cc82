"""The numbers of every table and the range each must be in."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem
from fastproxy.config.schema import (
    Auth,
    Backend,
    ChannelRoute,
    Config,
    Duration,
    FixedRoute,
    FormRoute,
    GiB,
    Git,
    GitRoute,
    Images,
    KiB,
    Limits,
    Memory,
    MiB,
    Poll,
    Queue,
    S3Store,
    Server,
    Size,
    UploadRoute,
)
from fastproxy.config.units import format_duration, format_size
from fastproxy.config.worst_case import S3_MIN_PART

S3_MAX_PART: Final = 5 * GiB
S3_MAX_OBJECT: Final = 5 * 1024 * GiB

_MANY: Final = 1_000_000
_LONG: Final = 30 * 86400.0
_SHORT: Final = 0.001

# Durations not named here are from 1 ms to 30 days.
_UPLOADS: Final[dict[str, tuple[float, float]]] = {
    "max_size": (1, S3_MAX_OBJECT),
    "part_concurrency": (1, 1000),
    "timeout": (1, _LONG),
}
RANGES: Final[dict[type, dict[str, tuple[float, float]]]] = {
    Server: {
        "workers": (0, 1024),
        "backlog": (1, 65535),
        "drain": (0, _LONG),
        "upload_drain": (0, _LONG),
    },
    Limits: {
        "header_bytes": (1 * KiB, 1 * MiB),
        "header_count": (1, 10_000),
        "target_bytes": (64, 64 * KiB),  # httptools counts offsets in 16 bits
        "rate_grace": (0, _LONG),
        "lingering_timeout": (0, _LONG),
        "connections": (1, _MANY),
        "connections_per_client": (0, _MANY),
        "requests_per_client": (0, _MANY),
        "request_burst": (1, _MANY),
    },
    Memory: {
        "budget": (1 * MiB, 1024 * GiB),
        "slab": (4 * KiB, 16 * MiB),
        "low_water": (0, 1),
        "high_water": (0, 1),
        "flying_share": (0.05, 1),
        "queue": (0, 10 * _MANY),
    },
    Auth: {"ttl": (1, 3600)},
    Backend: {
        "max_idle": (0, _MANY),
        "max_connections": (0, _MANY),
        "queue": (0, _MANY),
        "queue_timeout": (0, _LONG),
    },
    S3Store: {
        "part_size": (S3_MIN_PART, S3_MAX_PART),
        "attempts": (1, 100),
        "connections": (1, 10_000),
    },
    UploadRoute: _UPLOADS,
    FormRoute: {
        **_UPLOADS,
        "max_files": (1, 1000),
        "max_fields": (0, _MANY),
        "max_fields_size": (0, 64 * MiB),
        "max_part_head": (256, 64 * KiB),
        "max_name": (1, 4096),
        "zip_members": (1, _MANY),
        "zip_timeout": (1, _LONG),
    },
    Git: {
        "processes": (1, 10_000),
        "archive_cache_size": (1 * MiB, 1024 * 1024 * GiB),
        "queue": (0, _MANY),
        "queue_timeout": (0, _LONG),
    },
    Images: {
        "processes": (1, 1000),
        "queue": (0, _MANY),
        "memory": (64 * MiB, 1024 * GiB),
        "max_source": (0, 1 * GiB),
        "max_pixels": (1, 1000 * _MANY),
        "timeout": (0.1, _LONG),
    },
    GitRoute: {
        "max_push": (1, S3_MAX_OBJECT),
        "max_negotiation": (1 * KiB, 16 * GiB),
    },
    FixedRoute: {"status": (200, 599)},
    ChannelRoute: {
        "reauthorize": (0, _LONG),
        "ping": (0, _LONG),
        "idle_timeout": (0, _LONG),
        "max_session": (0, _LONG),
    },
    Poll: {
        "jitter": (0, 1),
        "wake_rate": (0, _MANY),
        "max_waiting": (0, _MANY),
        "max_body": (0, 1 * MiB),
    },
    Queue: {
        "at_once": (1, _MANY),
        "length": (0, _MANY),
        "length_per_key": (0, _MANY),
    },
}


def check_ranges(config: Config, source: Source) -> Iterator[Problem]:
    """Every number outside of its range."""
    for section in ("server", "limits", "memory", "auth", "redis", "git", "images"):
        yield from _table(getattr(config, section), (section,), source)
    for name, backend in config.backend.items():
        yield from _table(backend, ("backend", name), source)
    for name, store in config.store.items():
        yield from _table(store, ("store", name), source)
    for index, route in enumerate(config.route):
        yield from _table(route, ("route", index), source)


def _table(table: msgspec.Struct, key: KeyPath, source: Source) -> Iterator[Problem]:
    ranges = RANGES.get(type(table), {})
    for field in msgspec.structs.fields(table):
        value = getattr(table, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _table(value, (*key, field.name), source)
            continue
        low, high = ranges.get(field.name, (_SHORT, _LONG))
        if (field.name in ranges or isinstance(value, Duration)) and not low <= value <= high:
            message = f"{_shown(value, value)} is not between {_shown(low, value)}"
            yield source.problem((*key, field.name), f"{message} and {_shown(high, value)}")


def _shown(number: float, like: Any) -> str:
    if isinstance(like, Size):
        return format_size(int(number))
    return format_duration(number) if isinstance(like, Duration) else f"{number:g}"
