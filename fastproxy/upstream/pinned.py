"""Connections to hosts that somebody else names, and only to addresses that were judged.

For every connection the name is resolved once, its addresses are judged, and those that pass are
connected to: a name server that answers otherwise the next time (DNS rebinding) changes nothing.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final

from fastproxy.errors import BadOrder
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream.dial import Resolve, resolve
from fastproxy.upstream.origin import Origin, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_POOLS: Final = 64  # that are kept
# Besides what Python knows: compatible and site-local addresses, which are given up (RFC 4291,
# RFC 3879), local translation (RFC 8215), for documents (RFC 9637), for segments (RFC 9602); and
# those that lead to whatever server is nearest, which is one of ours (RFC 7526, RFC 6890).
_NOT_PUBLIC: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("192.0.0.0/24", "192.88.99.0/24", "::/96", "64:ff9b:1::/48", "2001::/23"),
        *("3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
# They hold an IPv4 address, which the packets go to (RFC 6052, RFC 3056).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is of the Internet at large: no network of ours, no machine's own."""
    is_global = address.is_global and not address.is_multicast and not address.is_reserved
    return is_global and not _is_in(address, _NOT_PUBLIC)


def may_connect(text: str, allowed: Sequence[Network]) -> bool:
    """Whether to connect to an address: a public one, or one of the `allowed` networks."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _nat64(address)
        if inner is not None:
            address = inner
    return is_public(address) or _is_in(address, allowed)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


class PinnedPools:
    """Pools by host and what it may be; of those that are idle the least recently used go.

    A kept connection serves whoever would have been let to its address himself.
    """

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
        self.allowed = tuple(allowed)
        self._resolver = resolver
        self._pools: OrderedDict[tuple[Origin, tuple[Network, ...]], Pool] = OrderedDict()

    def pool(self, origin: Origin, allowed: Sequence[Network] | None = None) -> Pool:
        """Connections to `origin`, at addresses that may be connected to.

        `allowed`: networks in place of those that were configured. When it is at no such address,
        who asks for a connection gets BadOrder.
        """
        networks = self.allowed if allowed is None else tuple(allowed)
        key = (origin, networks)
        pool = self._pools.get(key)
        if pool is None:
            self._make_room()
            tls = tls_context() if origin.is_tls else None
            resolver = partial(self._judged, networks)
            pool = Pool(origin, self._limits, self._reactor, tls, resolver=resolver)
            self._pools[key] = pool
        self._pools.move_to_end(key)
        return pool

    async def _judged(self, allowed: Sequence[Network], host: str, port: int) -> Sequence[str]:
        """A Resolve. Raises BadOrder."""
        found = await self._resolver(host, port)
        judged = [address for address in found if may_connect(address, allowed)]
        if not judged:
            raise BadOrder(f"{host} is at no address that may be connected to")
        return judged

    def _make_room(self) -> None:
        """Let go of what is idle. More than _POOLS may be busy."""
        for key, pool in list(self._pools.items()):
            if len(self._pools) < _POOLS:
                return
            if pool.open_count == pool.idle_count:
                pool.close()
                del self._pools[key]

    def close(self) -> None:
        """Close what is kept."""
        for pool in self._pools.values():
            pool.close()
