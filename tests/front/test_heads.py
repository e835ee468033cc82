"""A head that comes in pieces is judged only when there is news, and no later than that."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import Limits
from fastproxy.errors import FastproxyError
from fastproxy.front.heads import is_news, skip_blank_lines, split_head

LIMITS = Limits(header_bytes=120, header_count=5, target_bytes=20)

lines = st.sampled_from(
    [b"GET / HTTP/1.1", b"GET /" + b"a" * 80, b"A: b", b"A: " + b"b" * 40, b"", b"\r", b"\0"]
)
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
heads = st.lists(st.tuples(lines, ends).map(b"".join), max_size=9).map(b"".join)
cuts = st.lists(st.integers(1, 300), max_size=30).map(lambda at: sorted(set(at)))


def judged(raw: bytes) -> object:
    """What `split_head` says."""
    try:
        return split_head(raw, LIMITS)
    except FastproxyError as fault:
        return type(fault)


def outcome(pieces: list[bytes], *, always: bool) -> tuple[object, int]:
    """The first judgement that is not "more", and after how many bytes."""
    pending, size = b"", 0
    for piece in pieces:
        size += len(piece)
        is_first = not pending
        pending = skip_blank_lines(pending + piece)
        if not pending:
            continue
        if is_first or always or is_news(pending, len(piece), LIMITS):
            verdict = judged(pending)
            if verdict is not None:
                return verdict, size
    return None, size


@given(heads, cuts)
def test_nothing_is_judged_later_than_it_could_be(raw: bytes, cuts: list[int]) -> None:
    edges = [0, *(cut for cut in cuts if cut < len(raw)), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert outcome(pieces, always=False) == outcome(pieces, always=True)


@given(heads)
def test_nor_byte_by_byte(raw: bytes) -> None:
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    assert outcome(pieces, always=False) == outcome(pieces, always=True)


def test_a_byte_of_a_value_is_no_news() -> None:
    raw = b"GET / HTTP/1.1\r\nA: " + b"b" * 50
    assert not is_news(raw, 1, LIMITS)
    assert is_news(raw + b"\n", 1, LIMITS)
