"""The backend's answer to "may this upload happen, and where to": strict JSON to a Permission.

    {"key": "incoming/42", "max_size": 1073741824, "hashes": ["sha256"],
     "expected": {"sha256": "..."}, "size": 12345, "part_size": 8388608, "timeout": 3600,
     "id": "42",
     "presigned": {"put_url": "...", "get_url": "...", "delete_url": "...", "headers": {},
                   "part_size": 5242880, "part_urls": ["..."],
                   "complete_url": "...", "abort_url": "..."},
     "store": "default", "delete_after": false}

Every field may be left out; without `key` one is made up. Unknown fields are refused: a backend
that misspells `max_size` must not be understood as "no limit".
"""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from fastproxy.asking import field_of, strict
from fastproxy.config.schema import UploadRoute
from fastproxy.errors import BadAuthorizeAnswer, SizeMismatch
from fastproxy.protocol import HEX_LENGTH, MAX_ID, MAX_KEY
from fastproxy.storage.presigned import DEFAULT_PUT_HEADERS, PresignedTarget

_OURS: Final = frozenset(
    ("host", "connection", "content-length", "expect", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip
_NOTHING: Final[dict[str, str]] = {}  # one for all uploads: nobody changes a permission


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class PresignedAnswer(_Strict, frozen=True, kw_only=True):
    """Where the store's own signatures say the object goes; see storage.presigned."""

    put_url: str = ""
    get_url: str = ""
    delete_url: str = ""
    headers: dict[str, str] | None = None
    part_size: int = 0
    part_urls: tuple[str, ...] = ()
    complete_url: str = ""
    abort_url: str = ""


class Permission(_Strict, frozen=True, kw_only=True):
    """What the backend allows and wants. Sizes in bytes, `timeout` in seconds.

    What is left out is as the route has it.
    """

    key: str = ""
    id: str = ""
    max_size: int | None = None
    hashes: tuple[str, ...] = ()
    expected: dict[str, str] = msgspec.field(default_factory=lambda: _NOTHING)
    part_size: int | None = None
    timeout: float | None = None
    presigned: PresignedAnswer | None = None
    store: str = ""
    delete_after: bool | None = None
    size: int | None = None

    def limits(self, length: int | None) -> list[int]:
        """The sizes it allows at most. Raises SizeMismatch for a `length` that cannot be right."""
        if self.size is not None and length not in (None, self.size):
            raise SizeMismatch(f"{length} bytes declared, {self.size} required")
        return [limit for limit in (self.max_size, self.size) if limit is not None]


_decode = strict(Permission)


def read_permission(body: bytes, route: UploadRoute) -> Permission:
    """The permission in an answer's body. Raises BadAuthorizeAnswer, which names the field."""
    return judged(_decode(body), route)


def judged(permission: Permission, route: UploadRoute) -> Permission:
    """The same. Raises BadAuthorizeAnswer."""
    _judge(permission)
    if permission.presigned is not None:
        _judge_hosts(permission.presigned, route)
    return permission


def _judge(permission: Permission) -> None:
    key = permission.key
    if len(key.encode()) > MAX_KEY or any(ord(letter) < 32 for letter in key):
        raise BadAuthorizeAnswer("key: too long or with control characters")
    if len(permission.id.encode()) > MAX_ID:
        raise BadAuthorizeAnswer(f"id: over {MAX_ID} bytes")
    for name in (*permission.hashes, *permission.expected):
        if name not in HEX_LENGTH:
            raise BadAuthorizeAnswer(f"hashes: {name[:32]!r} is none of {sorted(HEX_LENGTH)}")
    for name, digest in permission.expected.items():
        if len(digest) != HEX_LENGTH[name] or not all(c in "0123456789abcdef" for c in digest):
            raise BadAuthorizeAnswer(f"expected: {name} is not lower-case hex of its length")
    for field in ("max_size", "size", "part_size", "timeout"):
        value = getattr(permission, field)
        if value is not None and value < (0 if field in ("max_size", "size") else 1):
            raise BadAuthorizeAnswer(f"{field}: {value}")


def _judge_hosts(presigned: PresignedAnswer, route: UploadRoute) -> None:
    """A backend's URL makes us send bytes: only to hosts the configuration names (SSRF)."""
    urls = (presigned.put_url, presigned.get_url, presigned.delete_url, presigned.complete_url)
    for url in filter(None, (*urls, presigned.abort_url, *presigned.part_urls)):
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2].lower()
            names = {host, (parts.hostname or "").lower()}
        except ValueError:
            raise BadAuthorizeAnswer("presigned: a URL does not parse") from None
        if "@" in parts.netloc or not names & {name.lower() for name in route.allowed_hosts}:
            raise BadAuthorizeAnswer(f"presigned: host {host[:200]!r} is not in allowed_hosts")


def presigned_target(presigned: PresignedAnswer) -> PresignedTarget:
    """As the storage room wants it. Raises BadAuthorizeAnswer."""
    headers = tuple(DEFAULT_PUT_HEADERS)
    if presigned.headers is not None:
        headers = tuple(_field(name, value) for name, value in presigned.headers.items())
    return PresignedTarget(
        put_url=presigned.put_url,
        get_url=presigned.get_url,
        delete_url=presigned.delete_url,
        headers=headers,
        part_size=presigned.part_size,
        part_urls=presigned.part_urls,
        complete_url=presigned.complete_url,
        abort_url=presigned.abort_url,
    )


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    """Raises BadAuthorizeAnswer for what is none, and for what would frame the request anew."""
    if name.lower() in _OURS:
        raise BadAuthorizeAnswer(f"presigned.headers: {name!r} is not valid")
    return field_of("presigned.headers", name, value)
