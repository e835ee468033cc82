"""What tables are made of."""

import msgspec


class Size(int):
    """A number of bytes, written "64KiB", "5MiB", "1GiB" or "512B"."""

    __slots__ = ()


class Duration(float):
    """A number of seconds, written "500ms", "30s", "5m" or "4h"."""

    __slots__ = ()


KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown keys are errors."""
