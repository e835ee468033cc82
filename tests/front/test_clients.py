"""Clients are told apart by address, asked to keep a rate, and forgotten when they are at rest."""

import time

import pytest

from fastproxy.config.schema import Limits
from fastproxy.front.clients import MOST_KNOWN, Client, Clients, clients_of


def asking(rate: float, burst: int) -> Clients:
    return Clients(Limits(requests_per_client=rate, request_burst=burst))


def admitted(clients: Clients, client: Client, now: float, asked: int) -> int:
    """How many of so many requests at once are in time."""
    return sum(clients.ask(client, now) for _ in range(asked))


def test_nothing_is_kept_when_nothing_is_limited() -> None:
    assert clients_of(Limits()) is None


@pytest.mark.parametrize("rate", [0.01, 1 / 3, 7.0, 1000.0])
@pytest.mark.parametrize("burst", [1, 2, 100])
@pytest.mark.parametrize("start", [0.0, 12.3, 1e7 + 1 / 7])
def test_a_burst_is_admitted_and_then_the_rate(rate: float, burst: int, start: float) -> None:
    clients = asking(rate, burst)
    client = clients.of("192.0.2.1")
    assert admitted(clients, client, start, burst + 5) == burst
    for nth in range(1, 50):
        now = start + nth / rate
        assert not clients.ask(client, now - 0.01 / rate)
        assert admitted(clients, client, now, 3) == 1
    assert admitted(clients, client, start + 50 / rate + burst / rate, 2 * burst + 5) == burst


def test_what_was_refused_does_not_count_and_the_wait_is_told() -> None:
    clients = asking(0.1, 3)
    client = clients.of("192.0.2.1")
    admitted(clients, client, 100.0, 1000)
    assert clients.wait_s(client, 100.0) == pytest.approx(10)
    assert clients.wait_s(client, 104.0) == pytest.approx(6)
    assert clients.ask(client, 110.0)


def test_clients_do_not_share_their_rate() -> None:
    clients = asking(0.1, 1)
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert clients.ask(clients.of(address), 100.0)
        assert not clients.ask(clients.of(address), 100.0)


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1", True),
    ],
)
def test_an_ipv6_client_is_64_bits_and_ipv4_is_itself_in_any_form(
    one: str, other: str, are_same: bool
) -> None:
    clients = asking(1, 1)
    assert (clients.of(one) is clients.of(other)) is are_same


def test_a_flood_of_addresses_is_forgotten_and_who_is_connected_is_not() -> None:
    clients = Clients(Limits(connections_per_client=2, requests_per_client=0.001))
    connected = clients.of("192.0.2.1")
    assert clients.enter(connected)
    now = time.monotonic()
    for number in range(5 * MOST_KNOWN):
        assert clients.ask(clients.of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), now)
        assert len(clients) <= MOST_KNOWN + 1
    assert clients.of("192.0.2.1") is connected


def test_who_asks_too_often_is_remembered_through_a_flood_of_those_at_rest() -> None:
    clients = asking(1000, 100)
    greedy = clients.of("192.0.2.1")
    admitted(clients, greedy, time.monotonic() + 3600, 200)
    for number in range(5 * MOST_KNOWN):  # known, but none has asked
        clients.of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert clients.of("192.0.2.1") is greedy


def test_connections_beyond_the_limit_are_told_and_beyond_its_double_cut() -> None:
    clients = Clients(Limits(connections_per_client=2))
    client = clients.of("192.0.2.1")
    told = [(clients.enter(client), clients.has_far_too_many(client)) for _ in range(5)]
    assert told == [(True, False), (True, False), (False, False), (False, False), (False, True)]
    assert clients.cut == 1
    client.open -= 4
    assert clients.enter(client)


def test_without_a_limit_of_connections_nobody_has_too_many() -> None:
    clients = asking(1, 1)
    client = clients.of("192.0.2.1")
    assert all(clients.enter(client) for _ in range(1000))
    assert not clients.has_far_too_many(client)
