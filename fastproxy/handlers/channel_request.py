"""The WebSocket handshake of a channel (RFC 6455 section 4): who may ask, and what is asked."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from fastproxy.channels.permission import Permission, Place
from fastproxy.errors import BadSubprotocol, ForbiddenOrigin
from fastproxy.exchange import Exchange
from fastproxy.handlers.forwarded import forwarded_lines, request_lines
from fastproxy.handlers.proxy_pass import Outgoing
from fastproxy.message import Headers
from fastproxy.upstream.origin import parse_origin
from fastproxy.wire.serialize import field_lines

_PROTOCOL: Final = b"sec-websocket-protocol"
# All that a stranger is told of what the client has said.
_HANDSHAKE: Final = frozenset(
    (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions")
)
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


def channel_request(exchange: Exchange, permission: Permission) -> Outgoing:
    """What opens it at the backend, or at the place that this has named. Raises BadSubprotocol."""
    head, place = exchange.head, permission.place
    ours: Headers = [*permission.fields]
    protocols = _subprotocols(head.headers, permission.subprotocols)
    if protocols:
        ours.append((b"Sec-WebSocket-Protocol", b", ".join(protocols)))
    replaced = {_PROTOCOL, *(name.lower() for name, _ in ours)}
    kept = [field for field in head.headers if field[0].lower() not in replaced]
    if place is None:
        head.headers = kept
        lines = request_lines(exchange) + field_lines(ours)
    else:
        kept = [field for field in kept if field[0].lower() in _HANDSHAKE]
        lines = _host_line(place) + field_lines([*kept, *ours]) + forwarded_lines(exchange)
    target = head.target if place is None else place.target
    return Outgoing(b"GET", target, lines + _UPGRADE)


def _host_line(place: Place) -> bytes:
    return b"Host: %b\r\n" % parse_origin(place.address).host_header


def _subprotocols(headers: Headers, permitted: Sequence[bytes]) -> list[bytes]:
    """Of what the client offers, what is permitted; it has chosen the order."""
    values = [value for name, value in headers if name.lower() == _PROTOCOL]
    offered = [word.strip(b" \t") for value in values for word in value.split(b",")]
    chosen = [word for word in offered if word and (not permitted or word in permitted)]
    if offered and not chosen:
        raise BadSubprotocol("none of those offered is permitted")
    return chosen
