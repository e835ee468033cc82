"""Where a host's name leads, and a connection to whichever of its addresses answers first.

The addresses are tried in turn, of IPv6 and IPv4 one after the other, the next one when the last
has failed or is silent for a moment (Happy Eyeballs, RFC 8305). Whoever answers first is it: what
goes wrong after that, a certificate above all, is told and not tried elsewhere.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from aiohappyeyeballs import start_connection

P = TypeVar("P", bound=asyncio.BaseProtocol)
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_NEXT_AFTER_S: Final = 0.25  # RFC 8305 section 8


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses as the system prefers them. Raises OSError, UnicodeError."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return await _resolved(host, port)
    return [host]


async def _resolved(host: str, port: int) -> Sequence[str]:
    """In a thread."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_written(place) for *_, place in found))


def _written(place: Sequence[object]) -> str:
    """With the number of the interface, without which link-local addresses mean nothing."""
    address, scope = place[0], place[3] if len(place) > 3 else 0
    return f"{address}%{scope}" if scope else str(address)


async def connect(
    make: Callable[[], P],
    addresses: Sequence[str],
    port: int,
    tls: ssl.SSLContext | None,
    server_name: str,
) -> P:
    """A connection to one of `addresses`, under TLS to `server_name`. Raises OSError."""
    loop = asyncio.get_running_loop()
    name = None if tls is None else server_name
    if len(addresses) == 1:
        _, protocol = await loop.create_connection(
            make, addresses[0], port, ssl=tls, server_hostname=name
        )
        return protocol
    sock = await start_connection(
        [_place(address, port) for address in addresses], happy_eyeballs_delay=_NEXT_AFTER_S
    )
    try:
        _, protocol = await loop.create_connection(make, ssl=tls, server_hostname=name, sock=sock)
    except BaseException:
        # uvloop closes the descriptor with its transport, but `sock` would once more: that of
        # somebody else by then.
        sock.detach()
        raise
    return protocol


def _place(
    address: str, port: int
) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]:
    """As getaddrinfo tells it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
