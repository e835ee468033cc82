"""Nothing is lost and nothing is left when everything happens at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.seaweed import seaweed
from tests.soak.run import soak
from tests.soak.town import Town, town

__all__ = ["seaweed"]


@pytest.fixture
def around(tmp_path: Path, seaweed: object) -> Iterator[Town]:
    with town(tmp_path / "site", seaweed) as running:  # type: ignore[arg-type]
        yield running


@pytest.mark.timeout(400)
def test_two_minutes_of_everything(around: Town) -> None:
    verdict = soak(around, 120, print)
    assert not verdict.faults, str(verdict)
    assert verdict.reloads > 5
    assert verdict.kills > 1
    assert verdict.store_faults > 10
    assert min(verdict.visits.values()) > 5
