"""Faults between fastproxy and its stores: see matrix.py and world.py."""

from collections.abc import Iterator

import pytest

from tests.flow.faults.matrix import Row, groups, store_rows
from tests.flow.faults.world import World, world
from tests.servers.seaweed import Seaweed

GROUPS = groups(store_rows())


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("matrix"), seaweed) as running:
        yield running


@pytest.mark.parametrize("rows", GROUPS.values(), ids=GROUPS.keys())
def test_nothing_is_lost_held_or_invented(matrix: World, rows: list[Row]) -> None:
    matrix.play(rows)
