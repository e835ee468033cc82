"""What an application is given: a question, or a file that is stored already.

Both are made of signed claims and of nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from fastproxy.backend.refusal import Reason, Refused

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """May this upload happen? `path` is decoded and without the suffix.

    `length` (bytes, None when nobody knows) and `content_type` are what the client says; so are
    `field` and `filename` where each file of a form is asked for, else both are empty.
    """

    method: str
    path: str
    length: int | None
    content_type: str
    field: str = ""
    filename: str = ""

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return last_segment(self.path)

    @classmethod
    def of_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Raises Refused."""
        length = claims.get("length")
        return cls(
            method=_typed(claims, "method", str),
            path=_typed(claims, "path", str),
            length=None if length is None else _count(claims, "length"),
            content_type=_typed(claims, "content_type", str),
            field=_typed({"field": "", **claims}, "field", str),
            filename=_typed({"filename": "", **claims}, "filename", str),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A stored file. `size` in bytes as the store confirmed, `duration` in seconds.

    In a local store it is at `path`, else (path None) it is the object `key` of `store`. `id` is
    the permission's. `name` is the last segment of the request's path, in a form that of what the
    client calls the file. `content_type` is what the client says. `hashes`: digest name to
    lower-case hex, of the bytes that were stored.
    """

    id: str
    name: str
    store: str
    key: str
    path: Path | None
    size: int
    etag: str
    hashes: Mapping[str, str]
    content_type: str
    parts: int
    duration: float

    @classmethod
    def of_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Raises Refused."""
        told = _typed(claims, "upload", dict)
        path = _typed(told, "path", str)
        return cls(
            id=_typed(told, "id", str),
            name=_name(claims),
            store=_typed(told, "store", str),
            key=_typed(told, "key", str),
            path=Path(path) if path else None,
            size=_count(told, "size"),
            etag=_typed(told, "etag", str),
            hashes=_hashes(told),
            content_type=_typed(told, "content_type", str),
            parts=_count(told, "parts"),
            duration=float(_typed(told, "duration", (int, float))),
        )

    def within(self, root: str | Path) -> Path:
        """Where the file is, links resolved; it must be a file beneath `root`.

        Move or open this path, so that even a fastproxy whose configuration is wrong cannot
        make the application touch anything else. Raises Refused.
        """
        if self.path is None:
            raise Refused(Reason.PLACE, "the upload is in no local store")
        file = self.path.resolve()
        if not file.is_relative_to(Path(root).resolve()) or not file.is_file():
            raise Refused(Reason.PLACE, "the report names no file of the store")
        return file


def last_segment(path: str) -> str:
    """What a client calls its file: "b" of "/a/b" and of "/a/b/"."""
    return path.rstrip("/").rpartition("/")[2]


def _name(claims: Mapping[str, Any]) -> str:
    """Of a file in a form there is one in the claims."""
    if "name" in claims:
        return _typed(claims, "name", str)
    return last_segment(_typed(claims, "path", str))


def _typed(claims: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...]) -> T:
    value = claims.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(Reason.MALFORMED, f"the claim {name} is missing or of a wrong kind")
    return value


def _count(claims: Mapping[str, Any], name: str) -> int:
    value = _typed(claims, name, int)
    if value < 0:
        raise Refused(Reason.MALFORMED, f"the claim {name} is negative")
    return value


def _hashes(told: Mapping[str, Any]) -> dict[str, str]:
    hashes: dict[str, Any] = _typed(told, "hashes", dict)
    for name in hashes:
        _typed(hashes, name, str)
    return hashes
