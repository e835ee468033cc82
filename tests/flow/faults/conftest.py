"""One running world for each file of the matrix, so that several can be played at once."""

from collections.abc import Iterator

import pytest

from tests.flow.faults.world import World, world
from tests.servers.seaweed import Seaweed


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("matrix"), seaweed) as running:
        yield running
