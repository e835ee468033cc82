"""Nothing of a trip stays: no object, no connection, no descriptor."""

import gc
import weakref
from collections import Counter

import pytest

from fastproxy.express.lane import Lane
from tests.express.events import backend_resets, backend_sends, client_resets, client_sends, cut
from tests.express.test_lane import GET, OK, POST, STORIES
from tests.express.worlds import TRUSTED, Event, Setting, World
from tests.support.descriptors import descriptors

_OURS = ("LaneTrip", "Exchange", "ProxyPass", "Forwarding", "_ClientProtocol", "_UpstreamProtocol")


def alive() -> Counter[str]:
    """How many of our objects there are."""
    gc.collect()
    names = (type(thing).__name__ for thing in gc.get_objects())
    return Counter(name for name in names if name in _OURS)


def happens(*events: Event) -> None:
    world = World(Setting(TRUSTED, idle=2), has_lane=True)
    try:
        for event in events:
            world.tell(event)
    finally:
        world.close()


@pytest.mark.parametrize("events", STORIES.values(), ids=STORIES.keys())
def test_nothing_stays_of_a_world_that_ended(events: list[Event]) -> None:
    happens(client_sends(POST), *events)
    objects, opened = alive(), descriptors()
    for request in (GET, POST):
        happens(client_sends(request), *events)
    assert alive() <= objects
    assert descriptors() <= opened


@pytest.mark.parametrize("end", [client_resets, cut, backend_resets, backend_sends(OK)])
def test_a_connection_that_ends_on_its_trip_goes_at_once(end: Event) -> None:
    world = World(Setting(), has_lane=True)
    gc.collect()  # what connecting leaves
    gc.disable()  # by counting references alone: an idle worker collects no garbage
    try:
        world.tell(client_sends(POST))
        assert world.is_on_lane
        world.tell(end)
        world.tell(client_resets)
        connection = weakref.ref(world.connection)
        del world.connection
        world.client.protocol = None
        assert connection() is None
        world.pool.close()
        world.settle()
        backend = weakref.ref(world.backends[0].protocol)
        world.backends[0].protocol = None
        assert backend() is None
    finally:
        gc.enable()
        for transport in world.transports:
            transport.far.close()
            transport.sock.close()
        world.loop.close()


def test_ten_thousand_requests_leave_no_object() -> None:
    def ask(world: World, times: int) -> None:
        for _ in range(times):
            world.tell(client_sends(GET))
            world.tell(backend_sends(OK))
            world.tell(World.read_all)
            for transport in world.transports:
                transport.received.clear()

    world = World(Setting(), has_lane=True)
    try:
        assert isinstance(world.context.shortcut, Lane)
        ask(world, 100)
        gc.collect()
        before = len(gc.get_objects())
        ask(world, 10_000)
        gc.collect()
        assert len(gc.get_objects()) - before < 20
    finally:
        world.close()
