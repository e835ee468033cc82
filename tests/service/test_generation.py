"""Workers of one configuration."""

from fastproxy.config.schema import Config
from fastproxy.service.generation import Generation


def test_a_worker_that_died_is_no_longer_counted_among_those_who_accept() -> None:
    generation = Generation(1, Config(), 2)
    crowded, dead = generation.client_counts.seat(0), generation.client_counts.seat(1)
    crowded.take()
    dead.take()
    for _ in range(50):
        crowded.came()
    assert crowded.is_ahead(0.0)
    generation.born(generation.slots[1], pid=1, now=0.0)
    generation.died(generation.slots[1])
    assert not crowded.is_ahead(0.0)
