"""Frames that are translated, however they are cut; judged by the library websockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from fastproxy.channels.translation import WORDS, Translation, Untranslatable

MESSAGES = st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=4), max_size=5)


def parsed(data: bytes, *, mask: bool) -> list[Frame]:
    reader, frames = StreamReader(), []
    reader.feed_data(data)
    reader.feed_eof()
    while True:
        parser = Frame.parse(reader.read_exact, mask=mask)
        try:
            while True:
                next(parser)
        except StopIteration as done:
            frames.append(done.value)
        except EOFError:
            return frames


def frames_of(pieces: list[bytes], *, mask: bool) -> bytes:
    """One message in so many frames, with a ping behind each."""
    out = b""
    for at, piece in enumerate(pieces):
        opcode = Opcode.CONT if at else Opcode.BINARY
        out += Frame(opcode, piece, fin=at == len(pieces) - 1).serialize(mask=mask)
        out += Frame(Opcode.PING, b"%d" % at).serialize(mask=mask)
    return out


@given(MESSAGES, st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_messages_are_what_they_were_however_they_are_cut(
    messages: list[list[bytes]], cuts: list[int], masked: bool
) -> None:
    wire = b"".join(frames_of(each, mask=masked) for each in messages)
    forth = Translation(WORDS[0], b"base64.channel.k8s.io", masked=masked)
    back = Translation(b"base64.channel.k8s.io", WORDS[0], masked=masked)
    out, at, turn = b"", 0, 0
    while at < len(wire):
        step = cuts[turn % len(cuts)]
        out += back.feed([forth.feed([memoryview(wire[at : at + step])])])
        at, turn = at + step, turn + 1
    frames = parsed(out, mask=masked)
    data = [frame for frame in frames if frame.opcode is not Opcode.PING]
    assert [frame.data for frame in data] == [b"".join(each) for each in messages]
    assert all(frame.opcode is Opcode.BINARY and frame.fin for frame in data)
    assert len(frames) - len(data) == sum(map(len, messages))


def test_a_close_of_the_client_is_announced_to_what_runs_there_once() -> None:
    way = Translation(WORDS[0], b"channel.k8s.io", masked=True)
    frames = parsed(way.feed([Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True)]), mask=True)
    assert [frame.data for frame in frames] == [b"\0\x04", b"\x03\xe8"]
    assert way.end_of_input() == b""


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x7f" + b"\xff" * 8,
        b"\x82\x7f" + (1 << 21).to_bytes(8, "big"),
        b"\xc2\x01x",
        b"\x83\x01x",
        b"\x81\x03abc",
        (b"\x02\x7f" + (1 << 19).to_bytes(8, "big") + bytes(1 << 19)) * 3,
        b"\x02\x00" + (b"\x00\x7f" + (1 << 19).to_bytes(8, "big") + bytes(1 << 19)) * 3,
        b"\x81\x84\0\0\0\0YWJj",
        b"\x09\x00",
        b"\x89\x7e\x00\x7e" + bytes(126),
        b"\x80\x00",
        b"\x01\x00\x81\x00",
    ],
    ids=[
        "a length of 64 bits",
        "too large",
        "compressed",
        "of an unknown kind",
        "no base64",
        "message within another",
        "message too large in all",
        "masked by a server",
        "control frame in pieces",
        "control frame too long",
        "rest of no message",
        "text within a text",
    ],
)
def test_what_no_server_may_send_is_refused(wire: bytes) -> None:
    with pytest.raises(Untranslatable):
        Translation(b"base64.channel.k8s.io", b"terminal.gitlab.com", masked=False).feed([wire])


def test_a_client_that_does_not_mask_is_refused() -> None:
    with pytest.raises(Untranslatable):
        Translation(WORDS[0], b"channel.k8s.io", masked=True).feed([b"\x82\x01x"])


def test_nothing_comes_out_behind_a_close() -> None:
    way = Translation(b"channel.k8s.io", WORDS[0], masked=False)
    assert way.feed([b"\x88\x00\x82\x02\x01x", b"\x88\x00"]) == b"\x88\x00"
