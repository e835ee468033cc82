"""Decoders say the same however the bytes were cut."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BadBody
from fastproxy.wire.framing import (
    LAST_CHUNK,
    BodyDecoder,
    ChunkedDecoder,
    LengthDecoder,
    UntilCloseDecoder,
    frame_chunk,
)

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


def pieces_at(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decode(decoder: BodyDecoder, pieces: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(payload, bytes behind the body)."""
    payload, rest = b"", b""
    for piece in pieces:
        if decoder.is_done:
            rest += piece
            continue
        views, taken = decoder.decode(memoryview(piece))
        payload += b"".join(views)
        rest += piece[taken:]
    return payload, rest


cuts = st.lists(st.integers(0, 5000), max_size=12)


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


@given(st.binary(max_size=500), st.binary(max_size=20), cuts)
def test_a_length_is_the_same_for_any_split(body: bytes, behind: bytes, cuts: list[int]) -> None:
    decoder = LengthDecoder(len(body))
    assert decode(decoder, pieces_at(body + behind, cuts)) == (body, behind)
    assert decoder.is_done


@given(st.binary(min_size=1, max_size=500), st.integers(0, 1000))
def test_a_body_short_of_its_length_is_never_complete(body: bytes, cut: int) -> None:
    decoder = LengthDecoder(len(body))
    decode(decoder, [body[: cut % len(body)]])
    assert not decoder.is_done
    assert not decoder.at_eof()
    rest = memoryview(bytearray(body[cut % len(body) :]))
    assert decoder.reach(9) == len(rest)
    assert decoder.squeeze(rest) == (len(rest), len(rest))
    assert decoder.is_done


@given(st.lists(st.binary(max_size=50)))
def test_without_a_length_only_the_end_of_the_connection_ends_a_body(pieces: list[bytes]) -> None:
    decoder = UntilCloseDecoder()
    assert decode(decoder, pieces) == (b"".join(pieces), b"")
    assert not decoder.is_done
    assert decoder.at_eof()
    assert decoder.is_done


@given(st.lists(st.lists(st.binary(max_size=50), min_size=1).filter(any), max_size=5), cuts)
def test_what_we_frame_we_can_read(writes: list[list[bytes]], cuts: list[int]) -> None:
    wire = b"".join(b"".join(frame_chunk(pieces)) for pieces in writes) + LAST_CHUNK
    decoder = ChunkedDecoder()
    payload = b"".join(b"".join(pieces) for pieces in writes)
    assert decode(decoder, pieces_at(wire, cuts)) == (payload, b"")
    assert decoder.is_done
