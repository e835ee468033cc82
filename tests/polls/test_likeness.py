"""What is folded is unfolded as it was, and takes little when it is like what came before."""

import os

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.polls.likeness import Likeness, unfold


@given(st.lists(st.binary(max_size=9000), max_size=20))
def test_all_is_unfolded_as_it_was_and_takes_no_more_than_it_did(bodies: list[bytes]) -> None:
    likeness = Likeness()
    folded = [likeness.fold(body) for body in bodies]
    assert [unfold(*each) for each in folded] == bodies
    assert all(len(each[0]) <= len(body) for each, body in zip(folded, bodies, strict=True))


def test_what_is_like_another_takes_little() -> None:
    likeness, common = Likeness(), os.urandom(3000)
    assert len(likeness.fold(common + b"token 1")[0]) > 3000
    for number in range(2, 9):
        assert len(likeness.fold(common + b"token %d" % number)[0]) < 100


def test_another_kind_is_a_model_in_its_turn() -> None:
    likeness = Likeness()
    kinds = [os.urandom(1000) for _ in range(3)]
    for kind in kinds:
        first, second = likeness.fold(kind), likeness.fold(kind + b"!")
        assert len(second[0]) < 50
        assert (unfold(*first), unfold(*second)) == (kind, kind + b"!")


def test_what_is_short_by_itself_is_shorter_beside_one_like_it() -> None:
    likeness, common = Likeness(), b'{"feature": true}' * 60
    likeness.fold(common + os.urandom(16))
    for _ in range(5):
        assert len(likeness.fold(common + os.urandom(16))[0]) < 40
