"""Decoders say the same however the bytes were cut."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.wire.chunked import ChunkedDecoder
from fastproxy.wire.framing import LAST_CHUNK, LengthDecoder, UntilCloseDecoder, frame_chunk
from tests.wire.reading import cuts, decode, pieces_at


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
