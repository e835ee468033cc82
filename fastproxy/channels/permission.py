"""What a backend says of a channel: where it leads, with which fields, for how long.

Native: {"url": "wss://...", "headers": {"Authorization": "..."}, "subprotocols": ["..."],
         "ca_pem": "-----BEGIN ...", "max_session": 3600}; every field may be left out.
GitLab: {"Channel": {"Subprotocols": ["..."], "Url": "wss://...", "Header": {"Name": ["..."]},
         "CAPem": "...", "MaxSessionTime": 3600}}, among others of its answer.
"""

import re
import ssl
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from fastproxy.asking import field_of, is_token, strict
from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.protocol import GITLAB, Dialect

MAX_ANSWER_BYTES: Final = 256 * 1024
_PORTS: Final = {"ws": 80, "wss": 443}
_is_target = re.compile(r"[\x21-\x7e]*\Z").match
# Ours to say: they frame the request, or make the handshake.
_OURS: Final = frozenset(
    ("host", "connection", "upgrade", "content-length", "transfer-encoding", "te", "trailer")
)


class Native(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See the module."""

    url: str = ""
    headers: dict[str, str] = {}
    subprotocols: tuple[str, ...] = ()
    ca_pem: str = ""
    max_session: float | None = None


class _Channel(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    subprotocols: tuple[str, ...]
    url: str
    header: dict[str, tuple[str, ...]] | None = None
    ca_pem: str = msgspec.field(default="", name="CAPem")
    max_session_time: float = 0


class _Gitlab(msgspec.Struct, frozen=True, kw_only=True):
    channel: _Channel = msgspec.field(name="Channel")


class Place(Struct, frozen=True):
    """Where a channel leads, when that is not the backend itself."""

    address: str  # "http://HOST:PORT" or "https://HOST:PORT", as upstream/origin.py reads it
    target: bytes
    ca_pem: str


class Permission(Struct, frozen=True):
    """What one channel may. Equal ones allow the same. `max_session_s` None: nothing is said."""

    place: Place | None
    fields: tuple[tuple[bytes, bytes], ...]  # of the request, instead of the client's
    subprotocols: tuple[bytes, ...]  # empty: any
    max_session_s: float | None


def permission_reader(
    dialect: Dialect, allowed_hosts: Collection[str]
) -> Callable[[bytes], Permission]:
    """A reader of answers; it raises BadAuthorizeAnswer, which names the field."""
    allowed = frozenset(host.lower() for host in allowed_hosts)
    read = _read_gitlab if dialect is GITLAB else _read_native

    def read_permission(body: bytes) -> Permission:
        url, fields, subprotocols, ca_pem, max_session_s = read(body)
        for word in subprotocols:
            if not is_token(word):
                raise BadAuthorizeAnswer(f"subprotocols: {word[:64]!r} is not a token")
        place = _place(url, ca_pem, allowed) if url else None
        if ca_pem and (place is None or not place.address.startswith("https:")):
            raise BadAuthorizeAnswer("ca_pem: there is no wss:// URL to use it with")
        if max_session_s is not None and max_session_s <= 0:
            raise BadAuthorizeAnswer(f"max_session: {max_session_s}")
        words = tuple(word.encode("ascii") for word in subprotocols)
        return Permission(place, _fields(fields), words, max_session_s)

    return read_permission


_Said = tuple[str, list[tuple[str, str]], tuple[str, ...], str, float | None]

_decode_native = strict(Native)
_decode_gitlab = strict(_Gitlab)


def _read_native(body: bytes) -> _Said:
    said = _decode_native(body)
    fields = list(said.headers.items())
    return said.url, fields, said.subprotocols, said.ca_pem, said.max_session


def _read_gitlab(body: bytes) -> _Said:
    said = _decode_gitlab(body).channel
    if not said.subprotocols or not said.url:
        raise BadAuthorizeAnswer("Channel: Url and Subprotocols are required")
    fields = [(name, value) for name, values in (said.header or {}).items() for value in values]
    return said.url, fields, said.subprotocols, said.ca_pem, said.max_session_time or None


def _fields(fields: list[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    judged = []
    for name, value in fields:
        field, lower = field_of("headers", name, value), name.lower()
        if lower in _OURS or lower.startswith("sec-websocket-"):
            raise BadAuthorizeAnswer(f"headers: {name} is not the backend's to say")
        judged.append(field)
    return tuple(judged)


def _place(url: str, ca_pem: str, allowed: frozenset[str]) -> Place:
    """A backend's URL makes us connect: only to hosts the configuration names (SSRF)."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
    except (ValueError, KeyError):
        raise BadAuthorizeAnswer(f"url: {url[:200]!r} is neither ws:// nor wss://") from None
    if "@" in parts.netloc or not {host, parts.netloc.lower(), f"{host}:{port}"} & allowed:
        raise BadAuthorizeAnswer(f"url: host {host[:200]!r} is not in allowed_hosts")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _is_target(target):
        raise BadAuthorizeAnswer("url: has letters that are not allowed unescaped")
    name = f"[{host}]" if ":" in host else host
    scheme = "https" if parts.scheme == "wss" else "http"
    _judge_authority(ca_pem)
    return Place(f"{scheme}://{name}:{port}", target.encode("ascii"), ca_pem)


def _judge_authority(ca_pem: str) -> None:
    if ca_pem:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, ValueError):
            raise BadAuthorizeAnswer("ca_pem: holds no certificate") from None
