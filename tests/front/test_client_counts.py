"""Who has more clients than the others."""

import math

from fastproxy.front.client_counts import ClientCounts, Seat, alone

NOW = 1000.0


def seats(*clients: int, limit: float = math.inf) -> list[Seat]:
    """Workers that have so many clients each."""
    client_counts = ClientCounts(len(clients), limit)
    made = [client_counts.seat(index) for index in range(len(clients))]
    for seat, count in zip(made, clients, strict=True):
        seat.take()
        for _ in range(count):
            seat.came()
    return made


def test_a_worker_with_clearly_more_clients_is_ahead() -> None:
    first, second = seats(5, 0)
    assert first.is_ahead(NOW)
    assert not second.is_ahead(NOW)


def test_those_who_are_coming_count() -> None:
    first, _ = seats(3, 0)
    assert not first.is_ahead(NOW, coming=1)
    assert first.is_ahead(NOW, coming=2)


def test_a_few_more_are_not_clearly_more() -> None:
    first, _ = seats(4, 0)
    assert not first.is_ahead(NOW)


def test_among_many_an_eighth_is_tolerated() -> None:
    first, _ = seats(80, 70)
    assert not first.is_ahead(NOW)
    first, _ = seats(81, 70)
    assert first.is_ahead(NOW)


def test_the_worker_with_the_fewest_is_the_one_that_counts() -> None:
    _, second, _ = seats(40, 20, 3)
    assert second.is_ahead(NOW)


def test_who_does_not_accept_is_not_waited_for() -> None:
    first, second = seats(50, 0)
    second.leave()
    assert not first.is_ahead(NOW)


def test_clients_that_go_after_the_last_are_not_counted() -> None:
    first, second = seats(50, 3)
    second.leave()
    second.went(NOW)
    assert not first.is_ahead(NOW)


def test_a_worker_that_died_is_not_waited_for() -> None:
    client_counts = ClientCounts(2)
    first, second = client_counts.seat(0), client_counts.seat(1)
    first.take()
    second.take()
    for _ in range(50):
        first.came()
    assert first.is_ahead(NOW)
    client_counts.clear(1)
    assert not first.is_ahead(NOW)


def replace(seat: Seat, clients: int) -> None:
    """So many go, and as many others come."""
    for _ in range(clients):
        seat.went(NOW)
        seat.came()


def test_where_clients_come_and_go_as_many_as_go_are_tolerated() -> None:
    first, _ = seats(60, 10)
    replace(first, 40)
    assert first.is_ahead(NOW)
    replace(first, 10)
    assert not first.is_ahead(NOW)


def test_a_second_later_they_are_forgotten() -> None:
    first, _ = seats(60, 10)
    replace(first, 50)
    assert not first.is_ahead(NOW + 0.9)
    assert first.is_ahead(NOW + 1.1)


def test_alone_nobody_is_ahead() -> None:
    seat = alone()
    seat.take()
    for _ in range(50):
        seat.came()
    assert not seat.is_ahead(NOW)


def test_who_is_full_leaves_clients_to_whoever_has_room() -> None:
    first, second = seats(10, 9, limit=10)
    assert first.is_ahead(NOW)
    first.went(NOW)
    assert not first.is_ahead(NOW)
    assert not second.is_ahead(NOW)


def test_when_all_are_full_nobody_is_waited_for() -> None:
    first, second = seats(10, 10, limit=10)
    assert not first.is_ahead(NOW)
    assert not second.is_ahead(NOW)
