import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame
from websockets.frames import Opcode as Known

from fastproxy.channels.frames import Frames, Opcode, close_payload, control_frame

DATA = (Known.TEXT, Known.BINARY, Known.CONT)
FRAMES = st.builds(
    lambda opcode, size, mask, fin: Frame(opcode, b"x" * size, fin).serialize(mask=mask),
    st.sampled_from(DATA),
    st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]),
    st.booleans(),
    st.booleans(),
) | st.builds(
    lambda opcode, size, mask: Frame(opcode, b"y" * size).serialize(mask=mask),
    st.sampled_from([Known.PING, Known.PONG, Known.CLOSE]),
    st.integers(0, 125),
    st.booleans(),
)


def cut(data: bytes, places: list[float]) -> list[bytes]:
    at = sorted({0, len(data), *(int(place * len(data)) for place in places)})
    return [data[start:end] for start, end in pairwise(at)]


@given(st.lists(FRAMES, max_size=6), st.lists(st.floats(0, 1), max_size=12))
def test_it_is_between_frames_exactly_where_the_library_ends_one(
    frames: list[bytes], places: list[float]
) -> None:
    ends, end = {0}, 0
    for frame in frames:
        end += len(frame)
        ends.add(end)
    tracked, at = Frames(), 0
    for piece in cut(b"".join(frames), places):
        tracked.advance(memoryview(piece))
        at += len(piece)
        assert tracked.is_between == (at in ends)


@given(st.lists(FRAMES, min_size=1, max_size=4), st.floats(0, 1), st.integers(1, 70000))
def test_it_finishes_the_frame_that_has_begun_and_not_a_byte_more(
    frames: list[bytes], place: float, size: int
) -> None:
    data = b"".join(frames)
    at = int(place * len(data))
    tracked = Frames()
    tracked.advance(memoryview(data[:at]))
    while not tracked.is_between:
        at += tracked.finish(memoryview(data[at : at + size]))
    ends = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    assert at == min(end for end in ends if end >= int(place * len(data)))
    assert tracked.finish(memoryview(data[at:])) == 0


def test_control_frames_are_no_activity() -> None:
    tracked = Frames()
    ping = Frame(Known.PING, b"still there?").serialize(mask=True)
    text = Frame(Known.TEXT, b"hello").serialize(mask=True)
    empty = Frame(Known.TEXT, b"").serialize(mask=False)
    for byte in ping:
        assert not tracked.advance(memoryview(bytes((byte,))))
    assert tracked.advance(memoryview(ping + text))
    assert [tracked.advance(memoryview(bytes((byte,)))) for byte in text][-5:] == [True] * 5
    assert tracked.advance(memoryview(empty))
    assert not tracked.advance(memoryview(ping))


def read(data: bytes, *, mask: bool) -> Frame:
    """By the library."""
    taken = iter([data])

    def read_exact(size: int):
        nonlocal data
        yield from ()
        piece, data = data[:size], data[size:]
        return piece

    del taken
    parser = Frame.parse(read_exact, mask=mask)
    with pytest.raises(StopIteration) as stop:
        next(parser)
    return stop.value.value


@pytest.mark.parametrize("masked", [False, True])
def test_the_library_reads_our_frames(masked: bool) -> None:
    payload = close_payload(1008, "not permitted any more")
    frame = read(control_frame(Opcode.CLOSE, payload, masked=masked), mask=masked)
    assert Close.parse(frame.data) == Close(1008, "not permitted any more")
    assert read(control_frame(Opcode.PING, masked=masked), mask=masked).opcode is Known.PING
    assert len(close_payload(1000, "x" * 200)) == 125
    assert struct.unpack(">H", close_payload(1012, "")) == (1012,)


def test_a_close_frame_is_seen_pass() -> None:
    tracked = Frames()
    tracked.advance(memoryview(Frame(Known.TEXT, b"\x88\x00").serialize(mask=False)))
    assert not tracked.has_closed
    for byte in Frame(Known.CLOSE, b"\x03\xe8").serialize(mask=True):
        tracked.advance(memoryview(bytes((byte,))))
    assert tracked.has_closed
