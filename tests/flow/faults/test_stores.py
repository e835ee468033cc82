"""Faults between fastproxy and its stores: see matrix.py and world.py."""

import pytest

from tests.flow.faults.matrix import Row, groups, store_rows
from tests.flow.faults.world import World

GROUPS = groups(store_rows())


@pytest.mark.parametrize("rows", GROUPS.values(), ids=GROUPS.keys())
def test_nothing_is_lost_held_or_invented(matrix: World, rows: list[Row]) -> None:
    matrix.play(rows)
