"""Bodies tell where each of their bytes belongs."""

import random

import pytest

from benchmarks.pattern import LOCATING, PERIOD, Body, locate, matches, named, piece

PLACES = [0, 1, 7, 8, 123_457, PERIOD - 1, PERIOD - 9, PERIOD - LOCATING]


@pytest.mark.parametrize("place", PLACES)
def test_any_sixteen_bytes_of_the_stream_tell_their_place(place: int) -> None:
    assert locate(bytes(piece(place, LOCATING))) == place


def test_other_bytes_have_no_place() -> None:
    chance = random.Random(5)
    assert locate(bytes(LOCATING)) is None
    assert not any(locate(chance.randbytes(LOCATING)) for _ in range(1000))


def test_the_stream_goes_on_after_its_period() -> None:
    assert bytes(piece(PERIOD - 5, 20)) == bytes(piece(PERIOD - 5, 5)) + bytes(piece(0, 15))
    assert matches(piece(3, 100), PERIOD + 3)


def test_one_flipped_bit_is_no_match() -> None:
    data = bytearray(piece(1000, 4096))
    data[4095] ^= 1
    assert not matches(memoryview(data), 1000)


def test_bodies_of_neighbouring_numbers_begin_at_different_places() -> None:
    starts = {Body(number, 1).start for number in range(100_000)}
    assert len(starts) == 100_000


def test_a_key_names_its_body_with_what_follows_the_last_slash() -> None:
    assert named("prefix/7-1024") == Body(7, 1024)
    assert named("7-1024/other") is None
    assert Body(7, 1024).name == "7-1024"
