import re

import pytest

from fastproxy.observe.request_id import RequestIds, accept_request_id


def test_ids_are_32_hex_digits_and_never_repeat() -> None:
    ids = RequestIds()
    made = [ids.new() for _ in range(5000)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)


def test_ids_sort_by_time() -> None:
    ids = RequestIds()
    times = [ids.new()[:12] for _ in range(5000)]
    assert times == sorted(times)


def test_two_sources_do_not_agree() -> None:
    assert RequestIds().new()[12:] != RequestIds().new()[12:]


@pytest.mark.parametrize("value", [b"a", b"A-b_c.9", b"x" * 128])
def test_harmless_ids_are_accepted(value: bytes) -> None:
    assert accept_request_id(value) == value.decode()


@pytest.mark.parametrize(
    "value", [None, b"", b"x" * 129, b"a b", b"a\n", b"a\r\nX: y", b"\xc3\xa9"]
)
def test_others_are_not(value: bytes | None) -> None:
    assert accept_request_id(value) is None
