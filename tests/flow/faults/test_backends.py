"""Faults between fastproxy and its backends: see matrix.py and world.py."""

import pytest

from tests.flow.faults.matrix import Row, backend_rows, groups
from tests.flow.faults.world import World

GROUPS = groups(backend_rows())


@pytest.mark.parametrize("rows", GROUPS.values(), ids=GROUPS.keys())
def test_nothing_is_lost_held_or_invented(matrix: World, rows: list[Row]) -> None:
    matrix.play(rows)
