"""Whose word counts: trusted proxies and the chain of X-Forwarded-For."""

import asyncio
import ipaddress

import pytest

from fastproxy.config.schema import Limits
from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch
from tests.front.test_server import Reports, hello

NETWORKS = ("10.0.0.0/8", "2001:db8:5::/48", "192.0.2.1/32")


def context_of(*networks: str) -> FrontContext:
    loop = asyncio.new_event_loop()
    try:
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
    finally:
        loop.close()
    trusted = tuple(map(ipaddress.ip_network, networks))
    return FrontContext(Limits(), reactor, RequestHeadParser(), Reports(), hello, trusted)


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"203.0.113.7", "203.0.113.7"),
        (b"6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (b"6.6.6.6, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (b"6.6.6.6,203.0.113.7 , 10.1.1.1,10.2.2.2,\t192.0.2.1", "203.0.113.7"),
        (b"10.6.6.6, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (b"203.0.113.7, ::ffff:10.1.1.1", "203.0.113.7"),
        (b"203.0.113.7, 2001:db8:5::1", "203.0.113.7"),
        (b"203.0.113.7, 2001:db8:6::1", "2001:db8:6::1"),
        (b"2001:DB8:6:0::1", "2001:db8:6::1"),
        (b"203.0.113.7, , 10.1.1.1,", "203.0.113.7"),
        (b"10.3.3.3, 10.2.2.2, 10.1.1.1", "10.3.3.3"),  # all ours: whoever came first
        (b"6.6.6.6" + b",10.1.1.1" * 31, "6.6.6.6"),
        (b"6.6.6.6" + b",10.1.1.1" * 32, "10.1.1.1"),  # who has so many proxies of his own?
        (b"10.3.3.3, unknown, 10.1.1.1", "10.1.1.1"),  # left of what nobody can read: nothing
        (b"203.0.113.7, 10.1.1.1:4711", ""),
        (b"203.0.113.7, unknown", ""),
        (b"203.0.113.7, 010.1.1.1", ""),
        (b"203.0.113.7, 10.1.1", ""),
        (b"203.0.113.7, \xff", ""),
        (b"", ""),
        (b" , ,", ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_of_ours(
    chain: bytes, client: str
) -> None:
    assert context_of(*NETWORKS).client_of(chain) == client


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("2001:db8:5::9", True),
        ("2001:db8:5::9%eth0", True),
        ("2001:db8:4::9", False),
        ("", True),  # on a unix socket
    ],
)
def test_networks_decide_who_is_a_proxy_of_ours(peer: str, is_trusted: bool) -> None:
    assert context_of(*NETWORKS).is_trusted(peer) is is_trusted


def test_nobody_is_trusted_unasked() -> None:
    assert not context_of().is_trusted("127.0.0.1")


def test_a_strangers_chain_says_nothing() -> None:
    context = context_of(*NETWORKS)
    raw = (
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    for peer, expected in (("203.0.113.7", "203.0.113.7"), ("10.0.0.1", "6.6.6.6")):
        exchange = Exchange(context.parser.parse(raw), None, Reports(), 0)  # type: ignore[arg-type]
        context.identify(exchange, peer, context.is_trusted(peer), None)
        assert exchange.remote_ip == expected
        assert exchange.scheme == (b"https" if expected == "6.6.6.6" else b"http")
