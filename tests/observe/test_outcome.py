"""What is counted is how it ended, and by whose fault."""

import asyncio

import pytest

from fastproxy.errors import BadOrder, ClientGone, StoreUnavailable
from fastproxy.observe.catalog import RESULTS
from fastproxy.observe.outcome import counting


def test_what_ends_well_is_counted_once_at_its_end() -> None:
    counted: list[str] = []
    with counting(counted.append):
        assert counted == []
    assert counted == ["ok"]


@pytest.mark.parametrize(
    ("error", "side"),
    [
        (BadOrder("its"), "backend"),
        (StoreUnavailable("its"), "storage"),
        (ClientGone("its"), "client"),
        (asyncio.CancelledError(), "client"),
    ],
)
def test_what_fails_is_counted_for_whose_fault_it_is(error: BaseException, side: str) -> None:
    counted: list[str] = []
    with pytest.raises(type(error)), counting(counted.append):
        raise error
    assert counted == [side]
    assert side in RESULTS
