"""All ways of cutting that the benchmarks compare do the same work."""

import random

import pytest

from benchmarks.cutting import PART, WAYS, Way


def reads_of_many_sizes(data: bytes) -> list[memoryview]:
    chance, rest, found = random.Random(6), memoryview(data), []
    while rest:
        count = chance.choice([1, 4096, 65536, 1_000_003])
        found.append(rest[:count])
        rest = rest[count:]
    return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("beyond", [-1, 0, 1], ids=["shorter", "whole", "longer"])
def test_every_way_gives_the_same_parts(way: Way, beyond: int) -> None:
    data = random.Random(5).randbytes(2 * PART + beyond)
    parts: list[bytes] = []
    way.cut(reads_of_many_sizes(data), lambda part: parts.append(way.content(part)))
    assert parts == [data[start : start + PART] for start in range(0, len(data), PART)]
