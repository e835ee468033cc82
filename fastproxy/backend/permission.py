"""The answer "yes, and there": checked here, where whoever wrote it sees the error.

fastproxy refuses a permission it does not understand with 502, and a client would see that.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from fastproxy.protocol import HEX_LENGTH, MAX_ID, MAX_KEY

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presigned:
    """URLs that the backend has signed, in place of the route's store (docs/protocol.md).

    Either `put_url`, or `part_urls` (one for each `part_size` bytes) with the URLs that complete
    and abort.
    """

    put_url: str = ""
    get_url: str = ""
    delete_url: str = ""
    headers: Mapping[str, str] | None = None
    part_size: int = 0
    part_urls: Sequence[str] = ()
    complete_url: str = ""
    abort_url: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.part_urls:
            if not (self.complete_url and self.abort_url and self.part_size > 0):
                raise ValueError("part_urls: part_size, complete_url and abort_url belong to them")
        elif not self.put_url:
            raise ValueError("put_url: it or part_urls are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What an application allows and wants; what is left out is the route's affair.

    `key`: the object's, or the file's beneath the store; one of that name is replaced, so never
    make it of what a client chose. `id` comes back in the report. `max_size` and `part_size` in
    bytes, `timeout` in seconds. `hashes`: names of digests for the report. `expected`: digests
    in lower-case hex; another body is refused. `store`: another of the route's `stores`;
    `delete_after`: whether the object goes once the report is answered.
    in lower-case hex, and `size` in bytes; another body is refused.
    """

    key: str = ""
    id: str = ""
    max_size: int | None = None
    hashes: Sequence[str] = ()
    expected: Mapping[str, str] = field(default_factory=dict)
    part_size: int | None = None
    timeout: float | None = None
    presigned: Presigned | None = None
    store: str = ""
    delete_after: bool | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, which names the field."""
        if len(self.key.encode()) > MAX_KEY or any(ord(letter) < 32 for letter in self.key):
            raise ValueError(f"key: over {MAX_KEY} bytes or with control characters")
        if len(self.id.encode()) > MAX_ID:
            raise ValueError(f"id: over {MAX_ID} bytes")
        _judge_digests(self.hashes, self.expected)
        for name, least in (("max_size", 0), ("size", 0), ("part_size", 1), ("timeout", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name}: {value}")

    def json(self) -> bytes:
        """The body of the answer; its type is fastproxy.protocol.NATIVE.permission_type."""
        return json.dumps(_given(self), allow_nan=False).encode()


def _judge_digests(hashes: Sequence[str], expected: Mapping[str, str]) -> None:
    if isinstance(hashes, str):
        raise ValueError("hashes: names, not one string")
    for name in (*hashes, *expected):
        if name not in HEX_LENGTH:
            raise ValueError(f"hashes: {name!r} is none of {sorted(HEX_LENGTH)}")
    for name, digest in expected.items():
        if len(digest) != HEX_LENGTH[name] or not _HEX.issuperset(digest):
            raise ValueError(f"expected: {name} is not lower-case hex of its length")


def _given(value: Permission | Presigned) -> dict[str, Any]:
    """What was not left out."""
    found: dict[str, Any] = {}
    for each in fields(value):
        given = getattr(value, each.name)
        if given != _default(each):
            found[each.name] = _plain(given)
    return found


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _plain(given: Any) -> Any:
    """As json has it."""
    if isinstance(given, Presigned):
        return _given(given)
    if isinstance(given, Mapping):
        return dict(given)
    return given if isinstance(given, str | int | float) else list(given)
