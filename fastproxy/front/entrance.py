"""Before the first request: a balancer's PROXY preface, then the TLS handshake, in one deadline.

A listener that asks for neither has no entrance; its clients are connections at once.

    PREFACE --complete--> HANDSHAKE --done--> OVER: the client's connection goes on
    any --broken, late, lost, cut--> OVER
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol, cast

from fastproxy.config.schema import Config, Listener
from fastproxy.errors import BadPreface, OwnFault
from fastproxy.front.clients import Client
from fastproxy.front.context import Connection, FrontContext
from fastproxy.front.guest import Guest
from fastproxy.front.secure.channel import SecureChannel
from fastproxy.front.secure.life import SecureLife
from fastproxy.front.secure.reading import READ_BYTES
from fastproxy.loop.deadlines import Timed
from fastproxy.tls import CertificateFiles, Certificates, subject_of
from fastproxy.wire.addresses import Network, is_within
from fastproxy.wire.preface import parse_preface

log = logging.getLogger(__name__)


class Welcomed(Connection, Protocol):
    """The connection of a client that has come in, before it is told of its transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        ...

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        ...

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        ...


_RENEWAL_S: Final = 5.0

Welcome = Callable[[Guest], Welcomed]


class Entrance:
    """Of one listener. `senders`: networks whose peers say for whom they speak, and must.

    Without `certificates` there is no TLS. A unix socket's peer is among the senders, if any are.
    """

    def __init__(
        self,
        context: FrontContext,
        senders: Sequence[Network],
        certificates: Certificates | None,
    ) -> None:
        self.context = context
        self.certificates = certificates
        self.ciphertext = memoryview(bytearray(READ_BYTES if certificates else 0))
        self._senders = senders

    def expects_preface(self, peer_ip: str) -> bool:
        """Whether this peer must begin with a preface; from others it would be a bad request."""
        if not peer_ip or not self._senders:
            return bool(self._senders)
        return is_within(peer_ip, self._senders)


def open_entrances(config: Config, context: FrontContext) -> list[Entrance | None]:
    """Of each address that is listened on, in their order. Raises OwnFault."""
    tables = {each.address: each for each in config.listener}
    return [_open(tables.get(address), context) for address in config.server.listen]


def _open(table: Listener | None, context: FrontContext) -> Entrance | None:
    if table is None:
        return None
    files = [CertificateFiles(each.cert_file, each.key_file) for each in table.certificate]
    try:
        certificates = Certificates(files, table.client_ca_file) if files else None
    except OSError as error:
        raise OwnFault(f"certificates of {table.address}: {error}") from error
    senders = [ipaddress.ip_network(each) for each in table.proxy_protocol_from]
    return Entrance(context, senders, certificates) if senders or certificates else None


async def renew(entrances: Sequence[Entrance | None]) -> None:
    """Look after changed certificates for ever."""
    chains = [each.certificates for each in entrances if each and each.certificates]
    while chains:
        await asyncio.sleep(_RENEWAL_S)
        for certificates in chains:
            certificates.refresh()


class Phase(Enum):
    """See the module."""

    PREFACE = "preface"
    HANDSHAKE = "handshake"
    OVER = "over"


_PREFACE, _HANDSHAKE, _OVER = Phase


class _Channel(SecureChannel, asyncio.BufferedProtocol):
    """What is compiled cannot inherit from a class of Python's; asyncio wants it to."""

    __slots__ = ()


class Arrival(Timed, asyncio.BufferedProtocol):
    """One client on its way in, counted as a connection. `welcome` makes what comes after."""

    __slots__ = ("_client", "_entrance", "_ip", "_phase", "_read", "_transport", "_welcome")
    _transport: asyncio.Transport

    exchange = None
    is_serving = False

    def __init__(self, entrance: Entrance, welcome: Welcome) -> None:
        super().__init__()
        self._entrance = entrance
        self._welcome = welcome
        self._phase = _PREFACE
        self._ip = ""
        self._client: Client | None = None
        self._read = b""

    @property
    def is_over(self) -> bool:
        """See Timed."""
        return self._phase is _OVER

    # -- asyncio.BufferedProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        context = self._entrance.context
        if not context.add(self):
            self.cut()  # there is nothing yet that an answer could be written with
            return
        self.deadline = context.deadlines.now + context.limits.handshake_timeout
        context.deadlines.watch(self)
        peer = transport.get_extra_info("peername")
        self._ip = peer[0] if isinstance(peer, tuple) else ""
        if not self._entrance.expects_preface(self._ip):
            self._go_on(b"")

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio. What comes behind the preface is so never more than a first read may be."""
        return self._entrance.context.scratch.head_view

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self._read += self._entrance.context.scratch.head_view[:nbytes]
        try:
            preface = parse_preface(self._read)
        except BadPreface as fault:
            log.warning("%s: closed: %s", self._ip or "unix", fault.detail)
            self.cut()
            return
        if preface is not None:
            self._ip = preface.source or self._ip
            rest, self._read = self._read[preface.size :], b""
            self._go_on(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._leave()

    # -- on the way in -------------------------------------------------------------------------

    def _go_on(self, first: bytes) -> None:
        """`first`: what was read of what comes next."""
        entrance = self._entrance
        if not self._is_welcome():
            self.cut()
            return
        protocol: Welcomed | _Channel
        if entrance.certificates is None:
            protocol = self._welcome_as(Guest(self._ip), self._transport)
        else:
            self._phase = _HANDSHAKE
            loop = entrance.context.reactor.loop
            protocol = _Channel(entrance.certificates, self, entrance.ciphertext, loop)
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
        if first and not self._transport.is_closing():
            protocol.get_buffer(-1)[: len(first)] = first
            protocol.buffer_updated(len(first))

    def _is_welcome(self) -> bool:
        """Whether who it is may have one more connection; then it is counted for the handshake."""
        context = self._entrance.context
        if context.clients is None or context.is_trusted(self._ip):
            return True
        self._client = context.clients.of(self._ip)
        if context.clients.enter(self._client):
            return True
        context.clients.cut += 1
        return False

    def _welcome_as(self, guest: Guest, transport: asyncio.Transport) -> Welcomed:
        connection = self._welcome(guest)
        self._end(lambda arrival: self._entrance.context.replace(arrival, connection))
        transport.set_protocol(cast("asyncio.BaseProtocol", connection))
        connection.connection_made(transport)
        if self._entrance.context.is_draining:
            connection.drain()
        return connection

    def secured(self, channel: SecureLife) -> None:
        """See Host."""
        certificates = self._entrance.certificates
        is_known = certificates is not None and certificates.asks_clients
        subject = subject_of(channel.tls) if is_known else b""
        transport = cast("asyncio.Transport", channel)
        self._welcome_as(Guest(self._ip, b"https", subject), transport)

    def lost(self, error: Exception | None) -> None:
        """See Host."""
        if error is not None:
            log.info("%s: no TLS handshake: %s", self._ip or "unix", error)
        self._leave()

    # -- ending --------------------------------------------------------------------------------

    def drain(self) -> None:
        """See Connection. Its deadline is near, and its request may be on its way."""

    def cut(self) -> None:
        """See Connection."""
        self._leave()
        self._transport.abort()

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        self.cut()

    def _leave(self) -> None:
        self._end(self._entrance.context.discard)

    def _end(self, count_out: Callable[[Connection], None]) -> None:
        if self._phase is not _OVER:
            self._phase = _OVER
            if self._client is not None:
                self._client.open -= 1
            count_out(self)
            self._entrance.context.deadlines.forget(self)
