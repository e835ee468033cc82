"""What the next hop is told of the client: our fields, after the client's were removed."""

from fastproxy.exchange import Exchange
from fastproxy.wire.serialize import field_lines


def forwarded_lines(exchange: Exchange) -> bytes:
    """X-Forwarded-For, -Proto, -Host and X-Request-Id as field lines.

    A chain is continued only when a trusted proxy began it; from anyone else it is a claim.
    """
    head = exchange.head
    peer = exchange.peer_ip.encode("ascii") or b"127.0.0.1"
    chain, host = peer, head.host
    if exchange.is_peer_trusted:
        if head.forwarded_for:
            chain = head.forwarded_for + b", " + peer
        host = head.forwarded_host or head.host
    return b"".join(
        (
            b"X-Forwarded-For: ",
            chain,
            b"\r\nX-Forwarded-Proto: ",
            exchange.scheme,
            b"\r\nX-Forwarded-Host: ",
            host,
            b"\r\nX-Request-Id: ",
            exchange.request_id.encode("ascii"),
            b"\r\n",
        )
    )


def end_to_end_lines(exchange: Exchange) -> bytes:
    """Host and the client's end-to-end fields as field lines; a stranger's claims are left out."""
    head = exchange.head
    fields = field_lines(head.headers)
    if head.claims and exchange.is_peer_trusted:
        fields += field_lines(head.claims)
    return b"".join((b"Host: ", head.host, b"\r\n", fields))
