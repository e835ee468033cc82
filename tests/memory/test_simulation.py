"""The policy's promises, for any clients, stores, disks and budgets."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.memory.simulator import (
    SLAB,
    Client,
    Disk,
    End,
    Kind,
    Scenario,
    Store,
    Wish,
    simulate,
)

PARTS = st.sampled_from([(1, 100), (1, 1500), (SLAB, 2 * SLAB), (700, 1500), (1024, 1024)])
PACES = st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0])

WISHES = st.just(Wish()) | st.builds(
    Wish,
    kind=st.sampled_from([Kind.ONLY, Kind.EQUAL]),
    part=st.sampled_from([SLAB, 1500, 5000, 20_000]),
    limit=st.sampled_from([2000, 6000, 1 << 40]),
    is_known=st.booleans(),
)


@st.composite
def clients(draw: st.DrawFn) -> Client:
    size = draw(st.integers(0, 8000))
    pace = draw(PACES)
    piece = draw(st.integers(1 if pace < 0.01 else 40, 3000))
    stops_at = draw(st.none() | st.none() | st.integers(0, size)) if size else None
    return Client(
        start=draw(st.sampled_from([0.0, 0.0, 0.5, 5.0])),
        size=size,
        piece=max(piece, size // 100),
        pace=pace,
        zero_copy=draw(st.booleans()),
        stops_at=stops_at,
        wish=draw(WISHES),
    )


STORES = st.builds(
    Store,
    delay=st.sampled_from([0.0, 0.01, 1.0]),
    concurrency=st.integers(1, 4),
    retries=st.sampled_from([0, 0, 0, 2]),
    fails=st.sampled_from([frozenset(), frozenset(), frozenset(), frozenset({1}), frozenset({2})]),
)


@st.composite
def disks(draw: st.DrawFn) -> Disk:
    blocks = draw(st.sampled_from([0, 1, 3, 20, 300]))
    return Disk(
        blocks=blocks,
        real=draw(st.sampled_from([0, blocks // 2, blocks, blocks])),
        delays=tuple(
            draw(st.lists(st.sampled_from([0.0, 0.0, 0.02, 1.0]), min_size=1, max_size=6))
        ),
        errors=draw(st.sampled_from([frozenset(), frozenset(), frozenset({1, 3}), frozenset({2})])),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    min_part, part_size = draw(PARTS)
    low = draw(st.sampled_from([0.0, 0.25, 0.9]))
    return Scenario(
        slabs=draw(st.sampled_from([1, 2, 5, 12, 40])),
        min_part=min_part,
        part_size=part_size,
        equal_parts=draw(st.booleans()),
        queue=draw(st.sampled_from([0, 1, 1000])),
        waters=(low, draw(st.sampled_from([low, 1.0])), draw(st.sampled_from([0.0, 0.5, 1.0]))),
        disk=draw(disks()),
        uploads=tuple(draw(st.lists(st.tuples(clients(), STORES), min_size=1, max_size=12))),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_every_upload_ends_and_leaves_nothing_behind(scenario: Scenario) -> None:
    simulate(scenario)


STEADY = Store(delay=0.01, concurrency=2, retries=0, fails=frozenset())
MULTIPART = Client(start=0.0, size=8000, piece=300, pace=0.01, zero_copy=True, stops_at=None)


def only(size: int, *, start: float = 0.0, stops_at: int | None = None) -> Client:
    wish = Wish(Kind.ONLY)
    return Client(start, size, piece=200, pace=0.01, zero_copy=True, stops_at=stops_at, wish=wish)


def world_of(*clients: Client, slabs: int, blocks: int) -> Scenario:
    return Scenario(
        slabs=slabs,
        min_part=700,
        part_size=1500,
        equal_parts=False,
        queue=1000,
        waters=(0.25, 0.5, 0.5),
        disk=Disk(blocks, blocks, (0.0, 0.02), frozenset()),
        uploads=tuple((client, STEADY) for client in clients),
    )


@pytest.mark.parametrize("blocks", [0, 40])
def test_only_parts_that_fit_alone_and_not_together_are_stored_one_after_another(
    blocks: int,
) -> None:
    each = (blocks or 12) * SLAB * 3 // 4
    scenario = world_of(*[only(each)] * 4, *[MULTIPART] * 3, slabs=12, blocks=blocks)
    assert {upload.end for upload in simulate(scenario).uploads} == {End.STORED}


def test_ordinary_uploads_go_on_while_an_only_part_takes_its_time() -> None:
    slow = Client(
        0.0, 9000, piece=100, pace=5.0, zero_copy=True, stops_at=None, wish=Wish(Kind.ONLY)
    )
    late = Client(50.0, 8000, piece=300, pace=0.01, zero_copy=True, stops_at=None)
    world = simulate(world_of(slow, only(9000), late, late, slabs=12, blocks=40))
    assert {upload.end for upload in world.uploads} == {End.STORED}
    first, *rest = (upload.ended_at for upload in world.uploads)
    assert max(rest[1:]) < 100 < first


def test_an_only_part_without_enough_of_the_promised_disk_is_refused_and_not_kept_waiting() -> None:
    scenario = world_of(*[only(9000)] * 3, slabs=12, blocks=40)
    world = simulate(replace(scenario, disk=replace(scenario.disk, real=5)))
    assert {upload.end for upload in world.uploads} == {End.REFUSED}
    assert max(upload.ended_at for upload in world.uploads) < 5


@pytest.mark.parametrize("wish", [Wish(), Wish(Kind.ONLY), Wish(Kind.EQUAL, part=3000)])
def test_who_falls_silent_gives_back_what_others_wait_for_within_the_grace(wish: Wish) -> None:
    silent = replace(MULTIPART, stops_at=600, wish=wish)
    world = simulate(world_of(*[silent] * 8, replace(MULTIPART, start=1.0), slabs=12, blocks=0))
    *ended, last = world.uploads
    assert last.end is End.STORED
    assert last.ended_at < 50  # a client is silent for 60 before its connection is closed
    assert End.TOO_SLOW in {upload.end for upload in ended}
