"""The way in, in this process: PROXY preface and TLS under any split of the bytes."""

import asyncio
import ipaddress
import random
import ssl
from collections.abc import Callable
from functools import cache
from itertools import cycle

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.config.schema import Limits
from fastproxy.exchange import Exchange
from fastproxy.front.client_counts import ClientCounts, Seat
from fastproxy.front.context import FrontContext
from fastproxy.front.entrance import Arrival, Entrance
from fastproxy.front.secure.channel import SecureChannel
from fastproxy.front.secure.reading import READ_BYTES
from fastproxy.front.server import _ClientProtocol
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.tls import CertificateFiles, Certificates
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch
from tests.front.raw import Raw, TlsClient
from tests.front.test_server import Reports

BALANCER = "192.0.2.9"
PREFACE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x12"
    b"\xcb\x00\x71\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb\x04\x00\x03abc"
)
GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    path = tmp_path_factory.mktemp("tls") / "all.pem"
    AUTHORITY.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return Certificates([CertificateFiles(str(path), "")])


@cache
def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    context.maximum_version = version
    return context


class Site:
    """An entrance and what has come through it."""

    def __init__(
        self,
        serve: Callable[[Exchange], None],
        limits: Limits | None = None,
        seat: Seat | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.reactor = Reactor(loop, Scratch(), Deadlines(loop))
        self.context = FrontContext(
            limits or Limits(), self.reactor, RequestHeadParser(), Reports(), serve, seat=seat
        )

    def arrive(
        self, certificates: Certificates | None, senders: str = f"{BALANCER}/32", **raw: object
    ) -> Raw:
        networks = [ipaddress.ip_network(senders)] if senders else []
        entrance = Entrance(self.context, networks, certificates)
        transport = Raw(**raw)  # type: ignore[arg-type]
        transport.protocol = Arrival(entrance, lambda guest: _ClientProtocol(self.context, guest))
        transport.protocol.connection_made(transport)
        return transport

    def welcome(self, certificates: Certificates) -> tuple[Raw, TlsClient]:
        """A client with its preface and handshake behind it."""
        raw = self.arrive(certificates)
        client = TlsClient(raw, client_context())
        client.connect(PREFACE)
        return raw, client


def run(story: Callable[[], object]) -> None:
    """In a loop, whose callbacks all run, and which has nothing to complain about."""

    async def main() -> None:
        troubles: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        found = story()
        if asyncio.iscoroutine(found):
            await found
        await turn()
        assert troubles == []

    asyncio.run(main())


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Served:
    """What the exchanges were."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    def __call__(self, exchange: Exchange) -> None:
        target = exchange.head.target.decode("ascii")
        self.seen.append((target, exchange.remote_ip, exchange.scheme))
        exchange.answer(200, [], b"hello")


CUTS = st.lists(st.integers(1, 3000), min_size=1, max_size=30)
PREFACES = st.sampled_from([PREFACE, V2])


@settings(max_examples=60)
@given(PREFACES, CUTS, st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
def test_preface_hello_and_requests_may_be_cut_anywhere(
    certificates: Certificates, preface: bytes, cuts: list[int], version: ssl.TLSVersion
) -> None:
    def story() -> None:
        served = Served()
        site = Site(served)
        raw = site.arrive(certificates)
        client = TlsClient(raw, client_context(version))
        client.connect(preface, cuts)
        raw.deliver(client.encrypt(GET % 1) + client.encrypt(GET % 2), cuts)
        assert served.seen == [(f"/{n}", "203.0.113.7", b"https") for n in (1, 2)]
        assert client.received().count(b"hello") == 2
        assert client.tls.version() == version.name.replace("_", ".")
        assert len(site.context.connections) == 1

    run(story)


@given(PREFACES, CUTS)
def test_preface_and_plain_requests_may_be_cut_anywhere(preface: bytes, cuts: list[int]) -> None:
    def story() -> None:
        served = Served()
        raw = Site(served).arrive(None)
        raw.deliver(preface + GET % 1 + GET % 2, cuts)
        assert served.seen == [(f"/{n}", "203.0.113.7", b"http") for n in (1, 2)]
        assert raw.sent.count(b"hello") == 2

    run(story)


@pytest.mark.parametrize("first", [GET % 1, b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_a_sender_without_a_good_preface_is_closed(first: bytes) -> None:
    def story() -> None:
        served = Served()
        site = Site(served)
        raw = site.arrive(None)
        raw.deliver(first)
        assert (raw.ended, bytes(raw.sent), served.seen) == ("aborted", b"", [])
        assert not site.context.connections
        assert not len(site.reactor.deadlines)

    run(story)


def test_from_anybody_else_a_preface_is_a_bad_request() -> None:
    def story() -> None:
        served = Served()
        raw = Site(served).arrive(None, senders="10.0.0.0/8")
        raw.deliver(PREFACE + GET % 1)
        assert raw.sent.startswith(b"HTTP/1.1 400 ")
        assert served.seen == []

    run(story)


def test_a_sender_of_ipv4_is_one_on_a_socket_of_both_kinds_too() -> None:
    def story() -> None:
        served = Served()
        raw = Site(served).arrive(None, peer=f"::ffff:{BALANCER}")
        raw.deliver(PREFACE + GET % 1)
        assert served.seen == [("/1", "203.0.113.7", b"http")]

    run(story)


def test_who_is_no_sender_needs_no_preface(certificates: Certificates) -> None:
    def story() -> None:
        served = Served()
        raw = Site(served).arrive(certificates, senders="10.0.0.0/8")
        client = TlsClient(raw, client_context())
        client.connect()
        raw.deliver(client.encrypt(GET % 1))
        assert served.seen == [("/1", BALANCER, b"https")]

    run(story)


def test_a_peer_on_a_unix_socket_must_speak_for_its_clients_too() -> None:
    def story() -> None:
        served = Served()
        site = Site(served)
        site.arrive(None, peer="").deliver(PREFACE + GET % 1)
        site.arrive(None, peer="").deliver(b"PROXY UNKNOWN\r\n" + GET % 2)
        bare = site.arrive(None, peer="")
        bare.deliver(GET % 3)
        assert served.seen == [("/1", "203.0.113.7", b"http"), ("/2", "", b"http")]
        assert bare.ended == "aborted"

    run(story)


@pytest.mark.parametrize("sent", [b"", PREFACE[:20], PREFACE, PREFACE + b"\x16\x03\x01\x02\x00"])
def test_who_does_not_come_in_in_time_is_closed(certificates: Certificates, sent: bytes) -> None:
    async def story() -> None:
        site = Site(Served(), Limits(handshake_timeout=3))  # type: ignore[arg-type]
        raw = site.arrive(certificates)
        raw.deliver(sent)
        now = site.reactor.loop.time()
        site.reactor.deadlines.check(now + 2.5)
        assert raw.ended is None
        site.reactor.deadlines.check(now + 4)
        assert raw.ended == "aborted"
        await turn()
        assert not site.context.connections
        assert not len(site.reactor.deadlines)

    run(story)


def test_one_client_too_many_is_closed_before_its_handshake(certificates: Certificates) -> None:
    def story() -> None:
        site = Site(Served(), Limits(connections=1))
        first = site.arrive(certificates)
        second = site.arrive(certificates)
        assert (first.ended, second.ended) == (None, "aborted")
        client = TlsClient(first, client_context())
        client.connect(PREFACE)
        assert len(site.context.connections) == 1

    run(story)


def test_who_has_come_in_is_not_taken_for_one_that_has_gone() -> None:
    def story() -> None:
        client_counts = ClientCounts(2)
        seat, other = client_counts.seat(0), client_counts.seat(1)
        seat.take()
        other.take()
        site = Site(Served(), seat=seat)
        for _ in range(20):
            site.arrive(None).deliver(PREFACE)
        assert len(site.context.connections) == 20
        assert seat.is_ahead(site.reactor.deadlines.now)

    run(story)


def test_who_comes_through_the_entrance_has_come_once(certificates: Certificates) -> None:
    def story() -> None:
        site = Site(Served())
        came: list[int] = []
        site.context.on_client = lambda: came.append(len(site.context.connections))
        site.welcome(certificates)
        site.arrive(None).deliver(PREFACE)
        assert came == [1, 2]
        assert len(site.context.connections) == 2

    run(story)


def test_who_was_let_in_is_served_although_the_worker_is_full_since(
    certificates: Certificates,
) -> None:
    def story() -> None:
        site = Site(Served(), Limits(connections=1))
        raw = site.arrive(certificates)
        late = Raw()
        late.protocol = _ClientProtocol(site.context)
        late.protocol.connection_made(late)
        assert late.sent.startswith(b"HTTP/1.1 503")
        assert len(site.context.connections) == 2  # it lingers
        client = TlsClient(raw, client_context())
        client.connect(PREFACE)
        raw.deliver(client.encrypt(GET % 1))
        assert client.received().startswith(b"HTTP/1.1 200")

    run(story)


def test_handshakes_count_for_the_client_that_the_preface_names(
    certificates: Certificates,
) -> None:
    async def story() -> None:
        site = Site(Served(), Limits(connections_per_client=2))
        raws = [site.arrive(certificates) for _ in range(3)]
        for raw in raws:
            raw.deliver(PREFACE)
        other = site.arrive(certificates)
        other.deliver(V2.replace(b"\xcb\x00\x71\x07", b"\xcb\x00\x71\x08"))
        assert [raw.ended for raw in (*raws, other)] == [None, None, "aborted", None]
        client = TlsClient(raws[0], client_context())
        client.connect()
        raws[1].abort()
        await turn()
        again = site.arrive(certificates)
        again.deliver(PREFACE)
        assert again.ended is None
        assert site.context.clients is not None
        assert site.context.clients.cut == 1
        for raw in (raws[0], again, other):
            raw.abort()
        await turn()
        assert site.context.clients.of("203.0.113.7").open == 0

    run(story)


def test_plain_text_on_a_tls_listener_is_no_request(certificates: Certificates) -> None:
    async def story() -> None:
        served = Served()
        site = Site(served)
        raw = site.arrive(certificates)
        raw.deliver(PREFACE + GET % 1)
        await turn()
        assert raw.ended == "closed"
        assert served.seen == []
        assert b"HTTP" not in raw.sent
        assert not site.context.connections

    run(story)


def test_plain_text_behind_the_handshake_is_no_request(certificates: Certificates) -> None:
    async def story() -> None:
        served = Served()
        site = Site(served)
        raw, client = site.welcome(certificates)
        raw.deliver(client.encrypt(GET % 1) + GET % 2)
        await turn()
        assert [target for target, _, _ in served.seen] == ["/1"]
        assert raw.ended == "aborted"
        assert not site.context.connections

    run(story)


def test_a_client_that_comes_in_while_we_drain_has_one_more_request(
    certificates: Certificates,
) -> None:
    async def story() -> None:
        site = Site(Served())
        asking, silent = (site.arrive(certificates) for _ in range(2))
        site.context.drain()
        clients = [TlsClient(raw, client_context()) for raw in (asking, silent)]
        for client in clients:
            client.connect(PREFACE)
        asking.deliver(clients[0].encrypt(GET % 1))
        await turn()
        assert b"Connection: close\r\n" in clients[0].received()
        assert asking.ended == "closed"
        assert silent.ended is None
        site.reactor.deadlines.check(site.reactor.loop.time() + 3)
        await turn()
        assert clients[1].is_at_goodbye()
        assert not site.context.connections

    run(story)


# -- the channel -----------------------------------------------------------------------------------


def channel_of(raw: Raw) -> SecureChannel:
    assert isinstance(raw.protocol, SecureChannel)
    return raw.protocol


@settings(max_examples=30)
@given(st.lists(st.integers(500, 60_000), min_size=1, max_size=6), st.integers(0, 1 << 30))
def test_a_slow_reader_gets_every_byte_in_order(
    certificates: Certificates, rooms: list[int], seed: int
) -> None:
    body = random.Random(seed).randbytes(700_000)

    async def story() -> None:
        site = Site(lambda exchange: exchange.answer(200, [], body))
        raw, client = site.welcome(certificates)
        client.received()
        raw.room = 0
        raw.deliver(client.encrypt(GET % 1))
        channel = channel_of(raw)
        unsent = channel.get_write_buffer_size()
        assert unsent >= len(body)
        assert raw.get_write_buffer_size() < 200_000  # the rest is not even encrypted
        got = b""
        while raw.waiting:
            raw.take(rooms[0])
            rooms.append(rooms.pop(0))
            got += client.received()
        assert got.endswith(b"\r\n\r\n" + body)
        assert channel.get_write_buffer_size() == 0
        raw.deliver(client.encrypt(GET % 2))
        raw.take(1 << 20)
        assert client.received().endswith(body)

    run(story)


class Narrow(asyncio.BufferedProtocol):
    """Lends windows of these sizes in turn, as the last bytes of a slab are."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = cycle(sizes)
        self.window = memoryview(b"")
        self.got = bytearray()

    def get_buffer(self, sizehint: int) -> memoryview:
        self.window = memoryview(bytearray(next(self.sizes)))
        return self.window

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.window[:nbytes]


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=5),
    st.lists(st.integers(1, 40_000), min_size=1, max_size=4),
)
def test_a_record_is_handed_over_whole_however_narrow_the_windows(
    certificates: Certificates, windows: list[int], sizes: list[int]
) -> None:
    async def story() -> None:
        raw, client = Site(Served()).welcome(certificates)
        narrow = Narrow(windows)
        channel_of(raw).set_protocol(narrow)
        sent = b""
        for seed, size in enumerate(sizes):
            data = random.Random(seed).randbytes(size)
            raw.deliver(client.encrypt(data))
            sent += data
            assert narrow.got == sent

    run(story)


class Slow:
    """Takes a body in steps: it wants more only when told."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = bytearray()
        self.is_complete = False
        exchange.sink = self

    def body_data(self, pieces: list[memoryview]) -> None:
        for piece in pieces:
            self.body += piece
        self.exchange.pause_body()

    def body_end(self) -> None:
        self.is_complete = True
        self.exchange.answer(200, [], b"taken")

    def client_failed(self, fault: Exception) -> None:
        self.exchange.sink = None

    def client_blocked(self) -> None: ...
    def client_writable(self) -> None: ...


@settings(max_examples=30)
@given(CUTS, st.integers(0, 1 << 30))
def test_a_body_that_is_taken_slowly_arrives_whole(
    certificates: Certificates, cuts: list[int], seed: int
) -> None:
    body = random.Random(seed).randbytes(150_000)

    async def story() -> None:
        slow: list[Slow] = []
        site = Site(lambda exchange: slow.append(Slow(exchange)))
        raw, client = site.welcome(certificates)
        head = b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        raw.deliver(client.encrypt(head) + client.encrypt(body), [size * 9 for size in cuts])
        steps = 0
        while not slow[0].is_complete:
            before = len(slow[0].body)
            slow[0].exchange.want_body()
            await asyncio.sleep(0)
            raw.deliver()
            steps += 1
            assert len(slow[0].body) - before <= READ_BYTES
            assert steps < 5000
        assert slow[0].body == body
        assert client.received().endswith(b"taken")
        raw.deliver(client.encrypt(GET % 2))
        assert len(slow) == 2  # the connection goes on

    run(story)


def test_what_a_paused_body_keeps_is_bounded(certificates: Certificates) -> None:
    def story() -> None:
        slow: list[Slow] = []
        site = Site(lambda exchange: slow.append(Slow(exchange)))
        raw, client = site.welcome(certificates)
        head = b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"
        raw.deliver(client.encrypt(head) + client.encrypt(bytes(9_000_000)))
        assert not raw.is_reading
        assert len(raw.inbox) > 9_000_000 - 2 * READ_BYTES

    run(story)


def test_a_goodbye_ends_the_connection_and_is_answered(certificates: Certificates) -> None:
    async def story() -> None:
        site = Site(Served())
        raw, client = site.welcome(certificates)
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        raw.deliver(client.outgoing.read())
        await turn()
        assert raw.ended == "closed"
        assert client.is_at_goodbye()
        assert not site.context.connections

    run(story)


def test_an_answer_that_ends_with_the_connection_ends_with_a_goodbye(
    certificates: Certificates,
) -> None:
    async def story() -> None:
        site = Site(Served())
        raw, client = site.welcome(certificates)
        raw.deliver(client.encrypt(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        await turn()
        assert client.received().endswith(b"hello")
        assert raw.ended == "closed"

    run(story)


def test_a_cut_body_is_no_complete_body_even_without_a_goodbye(certificates: Certificates) -> None:
    async def story() -> None:
        slow: list[Slow] = []
        site = Site(lambda exchange: slow.append(Slow(exchange)))
        raw, client = site.welcome(certificates)
        raw.deliver(
            client.encrypt(b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        )
        slow[0].exchange.want_body()
        await turn()
        raw.protocol.eof_received()
        await turn()
        assert not slow[0].is_complete
        assert slow[0].exchange.sink is None

    run(story)


def test_an_early_answer_is_read_by_a_client_that_still_sends(certificates: Certificates) -> None:
    async def story() -> None:
        site = Site(lambda exchange: exchange.answer(403, [], b"no"))
        raw, client = site.welcome(certificates)
        head = b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"
        raw.deliver(client.encrypt(head) + client.encrypt(bytes(100_000)))
        await turn()
        assert client.received().endswith(b"no")
        assert raw.has_eof  # ... and is told that nothing more will come
        assert raw.ended is None
        raw.deliver(client.encrypt(bytes(100_000)))
        await turn()
        assert raw.ended is None
        assert raw.is_reading
        assert not raw.inbox
        raw.protocol.eof_received()
        await turn()
        assert raw.ended == "closed"

    run(story)


def test_who_does_not_read_his_answers_is_not_read_from(certificates: Certificates) -> None:
    async def story() -> None:
        raw, client = Site(Served()).welcome(certificates)
        raw.room = 0
        raw.deliver(b"".join(client.encrypt(GET % number) for number in range(3000)))
        assert not raw.is_reading
        assert len(raw.waiting) < 10_000

    run(story)


def test_what_tls_itself_says_to_who_does_not_read_is_bounded(certificates: Certificates) -> None:
    async def story() -> None:
        site = Site(Served())
        raw, client = site.welcome(certificates)
        raw.room = 0
        channel = channel_of(raw)
        for _ in range(300):
            channel._records._outgoing.write(bytes(1000))  # as OpenSSL answers key updates
            raw.deliver(client.encrypt(b"\r\n"))
        await turn()
        assert raw.ended == "aborted"
        assert len(raw.waiting) < 300_000
        assert not site.context.connections

    run(story)
