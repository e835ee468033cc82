"""The policy's promises, for any clients, stores, disks and budgets."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.memory.simulator import SLAB, Client, Disk, Scenario, Store, simulate

PARTS = st.sampled_from([(1, 100), (1, 1500), (SLAB, 2 * SLAB), (700, 1500), (1024, 1024)])
PACES = st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0])


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
