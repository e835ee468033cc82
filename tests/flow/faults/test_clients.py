"""Faults between fastproxy and its clients: see matrix.py and world.py."""

import pytest

from tests.flow.faults.matrix import Row, client_rows, groups
from tests.flow.faults.world import World

GROUPS = groups(client_rows())


@pytest.mark.parametrize("rows", GROUPS.values(), ids=GROUPS.keys())
def test_nothing_is_lost_held_or_invented(matrix: World, rows: list[Row]) -> None:
    matrix.play(rows)
