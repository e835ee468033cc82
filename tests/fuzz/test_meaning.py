"""See the package. Four parsers that are not ours judge what the backend was sent."""

from hypothesis import example, given
from hypothesis import strategies as st

from tests.conformance.parsers import Message, Reading, by_h11, differences
from tests.express.events import backend_sends, client_half_closes, client_sends, drain
from tests.express.heads import requests
from tests.express.worlds import Setting, World
from tests.fuzz.bodies import HEADS, chunked_requests
from tests.support.examples import examples

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_OURS = (b"x-", b"fastproxy", b"content-length", b"transfer-encoding", b"host", b"connection")
CUTS = st.one_of(st.just(()), st.lists(st.integers(0, 400), max_size=5).map(tuple))
STREAMS = st.lists(st.one_of(requests(), chunked_requests()), min_size=1, max_size=3).map(b"".join)


def passed_on(stream: bytes, cuts: tuple[int, ...], *, has_lane: bool) -> list[bytes]:
    """What each backend connection is sent when a client sends `stream`, cut there."""
    world = World(Setting(), has_lane=has_lane)
    try:
        at = 0
        for cut in (*sorted(cuts), len(stream)):
            world.tell(client_sends(stream[at:cut]))
            at = max(at, cut)
        for _ in range(6):
            world.tell(World.read_all)
            if world.connection.is_serving:
                world.tell(backend_sends(OK))
        world.tell(client_half_closes)
        world.tell(drain)
        world.tell(World.read_all)
        return [bytes(backend.received) for backend in world.backends]
    finally:
        world.close()


def asked(streams: list[bytes]) -> list[Message]:
    """All whole requests in them, on which all parsers agree."""
    found: list[Message] = []
    for sent in streams:
        reading = by_h11(sent)
        assert reading.end in ("clean", "incomplete"), (reading, sent)
        others = differences(sent, reading).values()
        assert all(_is_same(other, reading) for other in others), (others, sent)
        found += reading.messages
    return found


def _is_same(reading: Reading, expected: Reading) -> bool:
    """Whether it is the same reading, or a part of it: to refuse what others take is harmless."""
    is_part = expected.messages[: len(reading.messages)] == reading.messages
    return reading == expected or (is_part and reading.end != "clean")


@examples(60)
@given(STREAMS, CUTS, st.booleans())
@example(HEADS[0] + b"1 \r\na\r\n0\r\n\r\n", (), True)
@example(HEADS[0] + b"1\r\na\r\n0\r\nA b\r\n\r\n", (), True)
def test_what_is_passed_on_is_read_alike_by_all_and_is_what_was_sent(
    stream: bytes, cuts: tuple[int, ...], has_lane: bool
) -> None:
    sent = by_h11(stream)
    rest = iter(sent.messages)
    for ours in asked(passed_on(stream, cuts, has_lane=has_lane)):
        # Some were answered by us. Where h11 gives up sooner than we do, agreement must do.
        assert any(_means(ours, theirs) for theirs in rest) or sent.end != "clean", ours


def _means(ours: Message, theirs: Message) -> bool:
    """Whether `ours` is what `theirs` became: less of fields, but none other."""
    target = theirs.target.removeprefix(b"http://h")  # RFC 9112 section 3.2.2
    if (ours.method, ours.target, ours.body) != (theirs.method, target, theirs.body):
        return False
    fields = iter(theirs.fields)
    return all(field in fields for field in ours.fields if not field[0].startswith(_OURS))
