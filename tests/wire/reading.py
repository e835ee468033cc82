"""Decoders, given a body in pieces."""

import itertools
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from fastproxy.wire.framing import BodyDecoder

cuts = st.lists(st.integers(0, 5000), max_size=12)


def pieces_at(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decode(
    decoder: BodyDecoder,
    pieces: Sequence[bytes],
    memory: Callable[[bytes], memoryview] = memoryview,
) -> tuple[bytes, bytes]:
    """(payload, bytes behind the body). `memory`: in which a piece lies."""
    payload, rest = b"", b""
    for piece in pieces:
        if decoder.is_done:
            rest += piece
            continue
        views, taken = decoder.decode(memory(piece))
        payload += b"".join(views)
        rest += piece[taken:]
    return payload, rest


def writable(piece: bytes) -> memoryview:
    """A copy that may be changed."""
    return memoryview(bytearray(piece))


def squeeze(decoder: BodyDecoder, pieces: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Like `decode`."""
    payload, rest = b"", b""
    for piece in pieces:
        window = writable(piece)
        size, taken = decoder.squeeze(window)
        payload += window[:size]
        rest += piece[taken:]
    return payload, rest
