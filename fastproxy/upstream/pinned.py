"""Connections to hosts that somebody else names, and only to addresses that were judged.

A name is resolved once, its addresses are judged, and one of these is connected to: a name server
that answers otherwise the next time (DNS rebinding) changes nothing.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastproxy.errors import BackendBusy, BadOrder, ConnectFailed, ConnectTimeout
from fastproxy.reactor import Reactor
from fastproxy.upstream.origin import Origin, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_POOLS: Final = 64
# They hold an IPv4 address, which the packets go to (RFC 6052, RFC 3056).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the system; in a thread."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: Address) -> bool:
    """Whether an address is of the Internet at large: no network of ours, no machine's own."""
    return address.is_global and not address.is_multicast and not address.is_reserved


def may_connect(text: str, allowed: Sequence[Network]) -> bool:
    """Whether to connect to an address: a public one, or one of the `allowed` networks."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if inner is not None:
            address = inner
    return is_public(address) or any(
        address.version == network.version and address in network for network in allowed
    )


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


class PinnedPools:
    """Pools by host and judged address, the least recently used let go."""

    def __init__(
        self,
        reactor: Reactor,
        limits: PoolLimits,
        allowed: Sequence[Network],
        resolver: Resolve = resolve,
    ) -> None:
        """`allowed`: networks besides the public ones."""
        self._reactor = reactor
        self._limits = limits
        self._allowed = tuple(allowed)
        self._resolve = resolver
        self._pools: OrderedDict[tuple[Origin, str], Pool] = OrderedDict()

    async def pool(self, origin: Origin) -> Pool:
        """Connections to `origin`, at an address that may be connected to.

        Raises BadOrder when it has none such, ConnectFailed, ConnectTimeout, BackendBusy.
        """
        address = await self._address(origin)
        key = (origin, address)
        pool = self._pools.get(key)
        if pool is None:
            self._make_room()
            tls: ssl.SSLContext | None = tls_context() if origin.is_tls else None
            place = Origin(address, origin.port, origin.is_tls)
            pool = Pool(place, self._limits, self._reactor, tls, server_name=origin.host)
            self._pools[key] = pool
        self._pools.move_to_end(key)
        return pool

    async def _address(self, origin: Origin) -> str:
        try:
            found = await asyncio.wait_for(
                self._resolve(origin.host, origin.port), self._limits.connect_timeout_s
            )
        except TimeoutError as error:
            raise ConnectTimeout(f"{origin.host}: no answer from a name server") from error
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"{origin.host}: {error}") from error
        for address in found:
            if may_connect(address, self._allowed):
                return address
        raise BadOrder(f"{origin.host} is at no address that may be connected to")

    def _make_room(self) -> None:
        if len(self._pools) < _POOLS:
            return
        for key, pool in self._pools.items():
            if pool.open_count == pool.idle_count:
                pool.close()
                del self._pools[key]
                return
        raise BackendBusy(f"answers of {_POOLS} hosts are being sent")

    def close(self) -> None:
        """Close what is kept."""
        for pool in self._pools.values():
            pool.close()
