"""What the next hop is told of the client: our fields, after the client's were removed."""

from fastproxy.exchange import Exchange
from fastproxy.wire.serialize import add_fields


def forwarded_lines(exchange: Exchange) -> bytes:
    """X-Forwarded-For, -Proto, -Host, X-Request-Id and Fastproxy-Client-Subject as field lines.

    A chain is continued only when a trusted proxy began it; from anyone else it is a claim.
    """
    parts: list[bytes] = []
    _add_forwarded(parts, exchange)
    return b"".join(parts)


def request_lines(exchange: Exchange) -> bytes:
    """Host, the client's end-to-end fields and `forwarded_lines`; a stranger's claims are left out.

    All of it in one join: this is built for every request.
    """
    head = exchange.head
    parts = [b"Host: ", head.host, b"\r\n"]
    add_fields(parts, head.headers)
    if exchange.is_peer_trusted:
        add_fields(parts, head.claims)
    _add_forwarded(parts, exchange)
    return b"".join(parts)


def _add_forwarded(parts: list[bytes], exchange: Exchange) -> None:
    head = exchange.head
    host = head.host
    parts.append(b"X-Forwarded-For: ")
    if exchange.is_peer_trusted:
        if head.forwarded_for:
            parts.append(head.forwarded_for)
            parts.append(b", ")
        host = head.forwarded_host or host
    parts.append(exchange.peer_ip.encode("ascii") or b"127.0.0.1")
    parts.append(b"\r\nX-Forwarded-Proto: ")
    parts.append(exchange.scheme)
    parts.append(b"\r\nX-Forwarded-Host: ")
    parts.append(host)
    parts.append(b"\r\nX-Request-Id: ")
    parts.append(exchange.request_id.encode("ascii"))
    parts.append(b"\r\n")
    if exchange.client_subject:
        parts.append(b"Fastproxy-Client-Subject: %b\r\n" % exchange.client_subject)
