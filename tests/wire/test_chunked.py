"""Bodies in chunks: the same however they were cut, and the same as a model says."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BadBody
from fastproxy.wire.chunked import ChunkedDecoder
from tests.wire import chunked_model
from tests.wire.reading import cuts, decode, pieces_at, squeeze, writable

Way = Callable[[ChunkedDecoder, Sequence[bytes]], tuple[bytes, bytes]]

_TOKEN = "abcdefgh-0123"

chunk_sizes = st.sampled_from(["%x", "%X", "%04x", "%015x"])
extensions = st.sampled_from([b"", b";a=b", b" ; name=value", b';q="x;y"', b";" + b"e" * 200])
trailers = st.lists(
    st.tuples(st.text(_TOKEN, min_size=1), st.text(_TOKEN + " ")).map(
        lambda pair: f"{pair[0]}: {pair[1]}\r\n".encode()
    ),
    max_size=4,
)
payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=6)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """(bytes on the wire, payload)."""
    pieces = draw(payloads)
    wire = b""
    for piece in pieces:
        size = (draw(chunk_sizes) % len(piece)).encode()
        wire += size + draw(extensions) + b"\r\n" + piece + b"\r\n"
    wire += b"0" + draw(extensions) + b"\r\n" + b"".join(draw(trailers)) + b"\r\n"
    return wire, b"".join(pieces)


@given(chunked_bodies(), st.binary(max_size=20), cuts)
def test_a_chunked_body_is_the_same_for_any_split(
    body: tuple[bytes, bytes], behind: bytes, cuts: list[int]
) -> None:
    wire, payload = body
    decoder = ChunkedDecoder()
    assert decode(decoder, pieces_at(wire + behind, cuts)) == (payload, behind)
    assert decoder.is_done
    assert decoder.at_eof()


@given(chunked_bodies())
def test_a_chunked_body_may_come_byte_by_byte(body: tuple[bytes, bytes]) -> None:
    wire, payload = body
    decoder = ChunkedDecoder()
    assert decode(decoder, [wire[at : at + 1] for at in range(len(wire))]) == (payload, b"")
    assert decoder.is_done


@given(chunked_bodies(), st.integers(0, 5000))
def test_a_cut_chunked_body_is_never_complete(body: tuple[bytes, bytes], cut: int) -> None:
    wire, payload = body
    decoder = ChunkedDecoder()
    got, _ = decode(decoder, [wire[: cut % len(wire)]])
    assert payload.startswith(got)
    assert not decoder.is_done
    assert not decoder.at_eof()


@given(chunked_bodies(), cuts, st.binary(max_size=20))
def test_framing_is_squeezed_out_of_the_memory_it_was_read_into(
    body: tuple[bytes, bytes], cuts: list[int], behind: bytes
) -> None:
    wire, payload = body
    wire += behind
    decoder = ChunkedDecoder()
    got, at, sizes = b"", 0, itertools.cycle([1 + cut % 50 for cut in cuts] or [len(wire)])
    while not decoder.is_done:
        read = min(next(sizes), decoder.reach(7))
        window = memoryview(bytearray(wire[at : at + read]))
        size, taken = decoder.squeeze(window)
        got += window[:size]
        at += taken
        assert decoder.is_done or taken == len(window)
        assert len(window) - taken <= 7
    assert (got, wire[at:]) == (payload, behind)


GOOD_SIZE = b"5\r\nhello\r\n0\r\n\r\n"
BAD_CHUNKS = [
    b"\r\nhello",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"g\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\n\r\n",
    b"1234567890abcdef\r\n",
    b"5;ext=\x00\r\nhello\r\n0\r\n\r\n",
    b"5;ext=a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\nx\r\nhello\r\n0\r\n\r\n",
    b"5;" + b"e" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5" + b" " * 600,
    b"0\r\n folded\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\n: no name\r\n\r\n",
    b"0\r\nblank : b\r\n\r\n",
    b"0\r\ncontrol: \x00\r\n\r\n",
    b"0\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    b"0\r\nA: " + b"b" * 9000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("wire", BAD_CHUNKS, ids=lambda wire: repr(wire[:24]))
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_nothing_is_forgiven_in_chunk_framing(wire: bytes, step: int) -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(BadBody):
        decode(decoder, [wire[at : at + step] for at in range(0, len(wire), step)])
    assert not decoder.is_done


def test_the_table_of_bad_chunks_is_about_its_faults() -> None:
    assert decode(ChunkedDecoder(), [GOOD_SIZE]) == (b"hello", b"")


FULL = b"A:" + b"b" * (8192 - 4) + b"\r\n"  # as many trailers as there may be
TRAILERS = {
    "just enough": (b"0\r\n" + FULL + b"\r\n", True),
    "one byte more": (b"0\r\nA" + FULL + b"\r\n", True),  # whose line end is beyond the limit
    "two bytes more": (b"0\r\nAA" + FULL + b"\r\n", True),
    "three bytes more": (b"0\r\nAAA" + FULL + b"\r\n", False),
    "one trailer more": (b"0\r\n" + FULL + b"A:b\r\n\r\n", False),
    "one trailer more, beyond the limit": (b"0\r\nAA" + FULL + b"A:b\r\n\r\n", False),
}


@pytest.mark.parametrize(("wire", "is_good"), TRAILERS.values(), ids=TRAILERS.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_trailers_end_at_their_limit(wire: bytes, step: int, *, is_good: bool) -> None:
    decoder = ChunkedDecoder()
    with nullcontext() if is_good else pytest.raises(BadBody):
        decode(decoder, [wire[at : at + step] for at in range(0, len(wire), step)])
    assert decoder.is_done == is_good


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """Bodies of which some bytes were replaced, dropped or added."""
    wire, _ = draw(chunked_bodies())
    for _ in range(draw(st.integers(0, 3))):
        at, dropped = draw(st.integers(0, len(wire))), draw(st.integers(0, 2))
        wire = wire[:at] + draw(st.sampled_from(ODD)) + wire[at + dropped :]
    return wire


ODD = (
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b"0",
    b"f",
    b"G",
    b";",
    b" ",
    b"\t",
    b"\0",
    b"\x7f",
    b":",
    b"0" * 15,
)
WAYS: dict[str, Way] = {
    "frozen": decode,
    "writable": partial(decode, memory=writable),
    "squeezed": squeeze,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@given(damaged_bodies(), cuts)
def test_a_model_says_the_same(way: Way, wire: bytes, cuts: list[int]) -> None:
    decoder = ChunkedDecoder()
    try:
        found = chunked_model.read(wire)
    except BadBody:
        with pytest.raises(BadBody):
            way(decoder, pieces_at(wire, cuts))
    else:
        assert way(decoder, pieces_at(wire, cuts)) == (found.payload, found.rest)
        assert decoder.is_done == found.is_done


def test_small_pieces_are_moved_together_and_large_ones_stay() -> None:
    large = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in (bytes(3000), bytes(2048)))
    memory = writable(large + b"1\r\na\r\n" * 5000 + large)
    views, taken = ChunkedDecoder().decode(memory)
    assert taken == len(memory)
    assert [len(view) for view in views] == [3000, 2048 + 5000, 3000, 2048]
    assert bytes(views[1]) == bytes(2048) + b"a" * 5000


def test_what_cannot_be_written_to_is_not_squeezed() -> None:
    with pytest.raises(BufferError):
        ChunkedDecoder().squeeze(memoryview(GOOD_SIZE))


def test_bytes_come_out_as_bytes() -> None:
    assert ChunkedDecoder().decode(GOOD_SIZE) == ([b"hello"], len(GOOD_SIZE))


def test_frozen_memory_is_left_alone() -> None:
    wire = bytes(bytearray(b"1\r\na\r\n" * 3))
    assert ChunkedDecoder().decode(memoryview(wire))[0] == [b"a"] * 3
    assert wire == b"1\r\na\r\n" * 3
