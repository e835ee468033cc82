"""What all client connections of a process share."""

import ipaddress
from collections.abc import Callable
from typing import Final, Protocol

from fastproxy.config.schema import Limits
from fastproxy.exchange import Exchange, Reporter
from fastproxy.front.client_counts import Seat, alone
from fastproxy.front.clients import Gate, clients_of
from fastproxy.front.guest import Guest
from fastproxy.loop.reactor import Reactor
from fastproxy.observe.request_id import RequestIds, accept_request_id
from fastproxy.shortcut import Shortcut
from fastproxy.wire.addresses import Network, is_within
from fastproxy.wire.head import RequestHeadParser

# A request may be on its way already, surely so when the client has only just connected.
_LAST_CHANCE_S: Final = 1.0
_MOST_HOPS: Final = 32  # of X-Forwarded-For, which has room for thousands


class Connection(Protocol):
    """A client connection, as the set of them sees it."""

    @property
    def exchange(self) -> Exchange | None:
        """The request being served, if it has one."""
        ...

    @property
    def is_serving(self) -> bool:
        """Whether a request is being served."""
        ...

    def drain(self) -> None:
        """Close soon if idle, else after the response in flight."""
        ...

    def cut(self) -> None:
        """End the exchange in flight, if any, and close now."""
        ...


def _nobody_cares() -> None:
    """Until somebody listens."""


class FrontContext:
    """See the module. `serve` is the router: it finds the handler and never raises.

    What every request needs of the limits and the reactor has an attribute of its own. `on_client`
    is called when one more client has come in.
    """

    def __init__(
        self,
        limits: Limits,
        reactor: Reactor,
        parser: RequestHeadParser,
        reporter: Reporter,
        serve: Callable[[Exchange], None],
        trusted: tuple[Network, ...] = (),
        seat: Seat | None = None,
    ) -> None:
        self.limits = limits
        self.reactor = reactor
        self.parser = parser
        self.reporter = reporter
        self.clients = clients_of(limits)
        self.serve = serve if self.clients is None else Gate(self.clients, serve).serve
        self.trusted = trusted
        self.scratch = reactor.scratch
        self.deadlines = reactor.deadlines
        self.header_timeout = limits.header_timeout
        self.idle_timeout: float = limits.idle_timeout
        self.max_body = limits.body
        self.is_draining = False
        self.connections: set[Connection] = set()
        self.seat = seat or alone()
        self.on_client: Callable[[], None] = _nobody_cares
        self.shortcut = Shortcut()
        self.ids = RequestIds()

    def add(self, connection: Connection) -> bool:
        """Count a client in; False when there are too many."""
        self.connections.add(connection)
        self.seat.came()
        self.on_client()
        return len(self.connections) <= self.limits.connections

    def discard(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self.seat.went(self.deadlines.now)

    def replace(self, arrival: Connection, connection: Connection) -> None:
        """Whom `add` has counted has passed the entrance: the same client, who has come once."""
        self.connections.discard(arrival)
        self.connections.add(connection)

    @property
    def in_flight(self) -> int:
        """Requests being served."""
        return sum(connection.is_serving for connection in self.connections)

    def drain(self) -> None:
        """From now on each response is the last of its connection."""
        self.is_draining = True
        self.idle_timeout = min(self.idle_timeout, _LAST_CHANCE_S)
        for connection in list(self.connections):
            connection.drain()

    def is_trusted(self, address: str) -> bool:
        """Whether a peer's forwarding headers are believed. A unix socket's peer is local."""
        if not address:
            return True
        if not self.trusted:
            return False
        return is_within(address, self.trusted)

    def identify(
        self, exchange: Exchange, peer_ip: str, is_trusted: bool, guest: Guest | None
    ) -> None:
        """Say who asks, and give the request its id."""
        if guest is not None:
            exchange.scheme = guest.scheme
            exchange.client_subject = guest.subject
        exchange.peer_ip = peer_ip
        exchange.is_peer_trusted = is_trusted
        if not is_trusted:
            exchange.remote_ip = peer_ip
            exchange.request_id = self.ids.new()
            return
        head = exchange.head
        exchange.remote_ip = self.client_of(head.forwarded_for) or peer_ip
        exchange.request_id = accept_request_id(head.request_id or None) or self.ids.new()
        if head.forwarded_proto.lower() in (b"http", b"https"):
            exchange.scheme = head.forwarded_proto.lower()

    def client_of(self, chain: bytes) -> str:
        """The rightmost address of the chain that is not one of our own proxies, else the leftmost.

        What stands left of it, or of what is no address, anybody may have invented. No more than
        the last _MOST_HOPS are looked at: they cost more than all else that is done with a head.
        """
        found = ""
        hops = chain.decode("latin-1").rsplit(",", _MOST_HOPS)
        for hop in reversed(hops[-_MOST_HOPS:]):
            address = hop.strip()
            if not address:
                continue
            try:
                found = str(ipaddress.ip_address(address))
            except ValueError:
                break
            if not self.is_trusted(address):
                break
        return found
