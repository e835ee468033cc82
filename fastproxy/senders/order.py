"""What a backend ordered to be sent in place of its answer: read, not judged.

Fastproxy-Send: KIND:BASE64URL(JSON)      the send field of the backend's dialect
X-Sendfile: /absolute/path                kind "file": {"path": ...}
X-Accel-Redirect: /location/rest          kind "location": {"path": ...}
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from fastproxy.errors import BadOrder

_PATH_FIELDS: Final = {
    b"x-sendfile": "file",
    b"x-lighttpd-send-file": "file",
    b"x-accel-redirect": "location",
}
_KIND = re.compile(rb"[a-z][a-z0-9-]{0,31}\Z").match
# urlsafe_b64decode leaves out what is no letter of its alphabet; it is to be an error.
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*={0,2}\Z").match


class Order(Struct, frozen=True):
    """`kind`: who is to send; `text`: what, as JSON that nobody has looked at."""

    kind: str
    text: bytes


def has_order(controls: Iterable[tuple[bytes, bytes]], send_field: bytes) -> bool:
    """Whether there is any. `send_field`: that of the backend's dialect, in lower case."""
    return any(name == send_field or name in _PATH_FIELDS for name, _ in controls)


def kind_of(controls: Iterable[tuple[bytes, bytes]], send_field: bytes) -> str:
    """What kind the first order claims to be; it may be no order at all."""
    for name, value in controls:
        if name in _PATH_FIELDS:
            return _PATH_FIELDS[name]
        if name == send_field:
            return value.partition(b":")[0].decode("latin-1")
    return ""


def read_order(controls: Iterable[tuple[bytes, bytes]], send_field: bytes) -> Order:
    """The one order among `controls`. Raises BadOrder for none, several, or nonsense."""
    orders = [
        (name, value) for name, value in controls if name == send_field or name in _PATH_FIELDS
    ]
    if len(orders) != 1:
        raise BadOrder(f"{len(orders)} orders in one answer")
    ((name, value),) = orders
    if name in _PATH_FIELDS:
        return Order(_PATH_FIELDS[name], _path(value))
    kind, colon, encoded = value.partition(b":")
    if not colon or not _KIND(kind):
        raise BadOrder("an order has the form KIND:BASE64URL")
    return Order(kind.decode("ascii"), _decoded(encoded))


def _path(value: bytes) -> bytes:
    try:
        return msgspec.json.encode({"path": value.decode("utf-8")})
    except UnicodeDecodeError:
        raise BadOrder("a path is not UTF-8") from None


def _decoded(encoded: bytes) -> bytes:
    """With or without padding, as libraries differ in that (RFC 4648 section 3.2)."""
    bare = encoded.rstrip(b"=")
    try:
        if not _BASE64URL(encoded):
            raise binascii.Error
        return base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
    except binascii.Error:
        raise BadOrder("an order is not base64url") from None
