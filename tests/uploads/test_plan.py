"""Part sizes: within every limit of the store, small at first, far enough at last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BodyTooLarge
from fastproxy.storage.contract import StoreNeeds
from fastproxy.uploads.plan import plan_parts

MIB = 1 << 20
TIB = 1 << 40
S3 = StoreNeeds()
R2 = StoreNeeds(equal_parts=True)


def reach(needs: StoreNeeds, wished: int | None = None) -> int:
    """Bytes that all parts of an unknown length hold together."""
    size = plan_parts(needs, None, wished)
    return sum(size(number) for number in range(1, needs.max_parts + 1))


@pytest.mark.parametrize("wished", [None, 5 * MIB, 64 * MIB, 525 * MIB, 600 * MIB, 5 << 30])
def test_an_unknown_length_reaches_5_tib_whatever_is_cut_early(wished: int | None) -> None:
    spare = plan_parts(S3, None, wished).spare
    assert spare >= TIB // 2
    assert reach(S3, wished) >= 5 * TIB + spare


def test_an_unknown_length_begins_small_and_never_shrinks() -> None:
    size = plan_parts(S3, None, None)
    sizes = [size(number) for number in range(1, S3.max_parts + 1)]
    assert sizes[:1000] == [8 * MIB] * 1000
    assert sizes == sorted(sizes)
    assert max(sizes) <= S3.max_part
    assert sum(sizes[:100]) < 1024 * MIB


def test_equal_parts_stay_equal_when_the_length_is_unknown() -> None:
    size = plan_parts(R2, None, None)
    assert {size(number) for number in range(1, 10_001)} == {8 * MIB}


@given(
    length=st.integers(0, 5 * TIB),
    wished=st.none() | st.integers(1, 8 << 30),
    equal=st.booleans(),
)
def test_a_known_length_fits_in_equal_parts(length: int, wished: int | None, equal: bool) -> None:
    needs = StoreNeeds(equal_parts=equal)
    size = plan_parts(needs, length, wished)
    part = size(1)
    assert size(10_000) == part
    assert needs.min_part <= part <= needs.max_part
    assert part * needs.max_parts == length + size.spare
    assert size.spare >= 0
    if wished is not None and needs.min_part <= wished <= needs.max_part:
        assert part >= wished


@pytest.mark.parametrize("wished", [None, 5 * MIB, 64 * MIB])
def test_equal_parts_of_an_unknown_length_end_where_their_numbers_do(wished: int | None) -> None:
    assert plan_parts(R2, None, wished).most == reach(R2, wished)
    assert plan_parts(R2, None, 1 << 30).most == 5 * TIB
    assert plan_parts(S3, None, wished).most == 5 * TIB


@given(length=st.integers(0, 5 * TIB), equal=st.booleans())
def test_a_known_length_is_never_beyond_what_its_parts_hold(length: int, *, equal: bool) -> None:
    assert plan_parts(StoreNeeds(equal_parts=equal), length, None).most >= length


def test_a_length_beyond_the_store_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        plan_parts(S3, 5 * TIB + 1, None)


def test_a_wish_below_what_the_store_takes_is_raised() -> None:
    assert plan_parts(S3, None, 1)(1) == 5 * MIB


def test_all_uploads_of_unknown_length_share_one_plan() -> None:
    assert plan_parts(S3, None, None) is plan_parts(StoreNeeds(), None, 8 * MIB)
