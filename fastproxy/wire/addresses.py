"""IP addresses as peers, balancers and proxies tell them: one spelling for each."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> Address:
    """Without its zone (RFC 4007 section 11). Raises ValueError."""
    return unmapped(ipaddress.ip_address(text.partition("%")[0]))


def unmapped(address: Address) -> Address:
    """`::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 section 2.5.5.2): sockets of both kinds say so."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def customer(text: str) -> str:
    """Whom an address belongs to: of IPv6 the first 64 bits, as one customer is given them.

    Raises ValueError.
    """
    if ":" not in text:
        return text
    address = read_address(text)
    return str(address if address.version == 4 else int(address) >> 64)


def is_within(text: str, networks: Iterable[Network]) -> bool:
    """Whether an address belongs to one of the networks. Raises ValueError."""
    address = read_address(text)
    return any(address in network for network in networks)
