"""The WebSocket handshake of a channel (RFC 6455 section 4): who may ask, and what is asked."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from fastproxy.channels.permission import Permission, Place
from fastproxy.channels.translation import TERMINALS, WORDS
from fastproxy.errors import BadSubprotocol, ForbiddenOrigin
from fastproxy.exchange import Exchange
from fastproxy.handlers.forwarded import forwarded_lines, request_lines
from fastproxy.handlers.proxy.proxy_pass import Outgoing
from fastproxy.message import Headers
from fastproxy.protocol import GITLAB, Dialect
from fastproxy.upstream.origin import parse_origin
from fastproxy.wire.serialize import field_lines

PROTOCOL: Final = b"sec-websocket-protocol"
# All that a stranger is told of what the client has said.
_EXTENSIONS: Final = b"sec-websocket-extensions"
_HANDSHAKE: Final = frozenset((b"sec-websocket-key", b"sec-websocket-version", _EXTENSIONS))
_UPGRADE: Final = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


def require_own_page(exchange: Exchange, allowed_origins: Sequence[str]) -> None:
    """Raises ForbiddenOrigin, and BodyTooLarge for a request with a body.

    Browsers let any page open a WebSocket with the cookies of another, and say whose page it is
    (section 10.2): pages of the host itself may, and those of `allowed_origins`.
    """
    head = exchange.head
    exchange.admit_body(0)
    origin = head.header(b"origin")
    if origin is None or "*" in allowed_origins:
        return
    text = origin.decode("latin-1").lower()
    host = (exchange.is_peer_trusted and head.forwarded_host) or head.host
    if text not in allowed_origins and _host_of(text) != host.decode("latin-1").lower():
        raise ForbiddenOrigin(f"a page of {text[:200]!r}")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def channel_request(
    exchange: Exchange, permission: Permission, dialect: Dialect
) -> tuple[Outgoing, bytes]:
    """What opens it at the backend, or at the place that this has named, and the client's word.

    The word is b"" unless messages are to be translated from it. Raises BadSubprotocol.
    """
    head, place = exchange.head, permission.place
    ours: Headers = [*permission.fields]
    protocols, word = _subprotocols(head.headers, permission.subprotocols, dialect)
    if protocols:
        ours.append((b"Sec-WebSocket-Protocol", b", ".join(protocols)))
    replaced = {PROTOCOL, *(name.lower() for name, _ in ours)}
    if word:
        replaced.add(_EXTENSIONS)  # what is compressed cannot be translated
    kept = [field for field in head.headers if field[0].lower() not in replaced]
    if place is None:
        head.headers = kept
        lines = request_lines(exchange) + field_lines(ours)
    else:
        kept = [field for field in kept if field[0].lower() in _HANDSHAKE]
        lines = _host_line(place) + field_lines([*kept, *ours]) + forwarded_lines(exchange)
    target = head.target if place is None else place.target
    return Outgoing(b"GET", target, lines + _UPGRADE), word


def _host_line(place: Place) -> bytes:
    return b"Host: %b\r\n" % parse_origin(place.address).host_header


def _subprotocols(
    headers: Headers, permitted: Sequence[bytes], dialect: Dialect
) -> tuple[Sequence[bytes], bytes]:
    """What of the client's offer is permitted, in its order; or what it is to be translated to."""
    values = [value for name, value in headers if name.lower() == PROTOCOL]
    offered = [word.strip(b" \t") for value in values for word in value.split(b",")]
    chosen = [word for word in offered if word and (not permitted or word in permitted)]
    if offered and not chosen:
        spoken = [word for word in offered if word in TERMINALS]
        known = [word for word in permitted if word in WORDS]
        if dialect is GITLAB and spoken and known:
            return known, spoken[0]
        raise BadSubprotocol("none of those offered is permitted")
    return chosen, b""
