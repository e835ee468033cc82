"""Whatever happens while a plain request is on its way, it ends as without the express lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import Limits
from fastproxy.config.units import Duration, Size
from tests.express.events import (
    backend_half_closes,
    backend_is_gone,
    backend_reads,
    backend_resets,
    backend_sends,
    backend_speaks_unasked,
    client_half_closes,
    client_reads,
    client_resets,
    client_sends,
    cut,
    drain,
    passes,
)
from tests.express.heads import requests, responses
from tests.express.worlds import STRANGER, TRUSTED, Event, Setting, World, play
from tests.support.examples import examples

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
EMPTY_POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
PUT = POST.replace(b"POST", b"PUT")
NOT_PLAIN = b"GET /b HTTP/1.1\r\nHost:  h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def some_bytes(size: int) -> bytes:
    """Bytes of which none can be taken for its neighbours."""
    return bytes(n * 7 % 251 for n in range(size))


def in_pieces(data: bytes, size: int) -> list[Event]:
    return [backend_sends(data[at : at + size]) for at in range(0, len(data), size)]


STORIES: dict[str, list[Event]] = {
    "answered": [backend_sends(OK)],
    "in two reads": in_pieces(OK, 20),
    "head and body apart": in_pieces(OK, len(OK) - 2),
    "byte by byte": in_pieces(OK, 1),
    "chunked": [backend_sends(CHUNKED)],
    "chunked, byte by byte": in_pieces(CHUNKED, 1),
    "interim answer first": [backend_sends(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + OK)],
    "interim answer before": [backend_sends(b"HTTP/1.1 100 Continue\r\n\r\n"), backend_sends(OK)],
    "until close": [backend_sends(b"HTTP/1.1 200 OK\r\n\r\nabc"), backend_half_closes],
    "answers and half-closes": [backend_sends(OK), backend_half_closes],
    "answers and resets": [backend_sends(OK), backend_resets],
    "half an answer and gone": [backend_sends(OK[:-1]), backend_half_closes],
    "half a head and gone": [backend_sends(OK[:9]), backend_resets],
    "half-closes": [backend_half_closes],
    "resets": [backend_resets],
    "resets, then another": [backend_resets, backend_sends(OK)],
    "half-closes, then another": [backend_half_closes, backend_sends(OK)],
    "junk behind": [backend_sends(OK + b"junk")],
    "junk when idle": [backend_sends(OK), backend_sends(b"junk")],
    "an answer when idle": [backend_sends(OK), backend_sends(OK), client_sends(GET)],
    "two answers": [backend_sends(OK + OK), client_sends(GET)],
    "no answer at all": [backend_sends(b"\x16\x03\x01 hello\r\n\r\n")],
    "an old answer": [backend_sends(OK.replace(b"1.1", b"1.0"))],
    "204": [backend_sends(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")],
    "204, no length": [backend_sends(b"HTTP/1.1 204 No Content\r\n\r\n")],
    "304 with a length": [backend_sends(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")],
    "close": [backend_sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")],
    "kept for a second": [
        backend_sends(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n"),
        passes(1),
    ],
    "kept for three, once": [
        backend_sends(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=3\r\nContent-Length: 0\r\n\r\n"),
        client_sends(GET),
        backend_sends(OK),
        client_sends(GET),
        backend_sends(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n"),
        passes(5),
    ],
    "tunnel nobody asked for": [
        backend_sends(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    ],
    "private answer": [
        backend_sends(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fastproxy.upload+json\r\n"
            b"Content-Length: 2\r\n\r\n{}"
        )
    ],
    "client resets": [client_resets],
    "client resets, backend answers": [client_resets, backend_sends(OK)],
    "client half-closes": [client_half_closes, backend_sends(OK)],
    "client half-closes, backend fails": [client_half_closes, backend_resets, backend_resets],
    "one more request": [client_sends(GET), backend_sends(OK), backend_sends(OK)],
    "one more that is not plain": [client_sends(NOT_PLAIN), backend_sends(OK), backend_sends(OK)],
    "two more": [client_sends(GET + PUT), *[backend_sends(OK)] * 3],
    "one more in pieces": [
        client_sends(GET[:9]),
        backend_sends(OK),
        client_sends(GET[9:]),
        backend_sends(OK),
    ],
    "one more, then gone": [client_sends(GET), client_resets],
    "one more, then half-closed": [client_sends(GET), client_half_closes, *[backend_sends(OK)] * 2],
    "a bad one": [client_sends(b"\x00\r\n\r\n"), backend_sends(OK)],
    "a blank line": [client_sends(b"\r\n"), backend_sends(OK), client_sends(GET)],
    "drain": [drain, backend_sends(OK)],
    "drain, backend fails": [drain, backend_half_closes],
    "drain, one more": [client_sends(GET), drain, backend_sends(OK)],
    "drain when idle": [backend_sends(OK), drain],
    "cut": [cut, backend_sends(OK)],
    "drain, then cut": [drain, cut],
    "no answer in time": [passes(299), passes(2)],
    "no answer, one more": [client_sends(GET), passes(301)],
    "half an answer in time": [backend_sends(OK[:-1]), passes(61)],
    "idle for long": [backend_sends(OK), passes(16), client_sends(GET), backend_sends(OK)],
    "idle for too long": [backend_sends(OK), passes(76)],
    "the kept connection is gone": [
        backend_sends(OK),
        backend_is_gone,
        client_sends(GET),
        backend_resets,
        backend_sends(OK),
    ],
    "the kept connection is gone for a POST": [
        backend_sends(OK),
        backend_is_gone,
        client_sends(POST),
        backend_resets,
        backend_sends(OK),
    ],
}


@pytest.mark.parametrize("peer", [STRANGER, TRUSTED, ""])
@pytest.mark.parametrize("request_", [GET, HEAD, POST, EMPTY_POST, PUT])
@pytest.mark.parametrize("events", STORIES.values(), ids=STORIES.keys())
def test_it_ends_as_without_the_lane(request_: bytes, events: list[Event], peer: str) -> None:
    _, took_part = play(Setting(peer, idle=2), client_sends(request_), *events)
    assert took_part


@pytest.mark.parametrize("request_", [GET, POST])
def test_only_what_is_safe_to_repeat_is_asked_again(request_: bytes) -> None:
    events = (backend_resets, backend_sends(OK))
    seen, took_part = play(Setting(), client_sends(request_), *events)
    assert took_part
    asked = [received.split(b" ")[0] for received in seen["backends"] if received]
    assert asked == ([b"GET", b"GET"] if request_ is GET else [b"POST"])
    assert seen["client"].startswith(b"HTTP/1.1 200" if request_ is GET else b"HTTP/1.1 502")


def test_the_last_answer_of_a_worker_says_so() -> None:
    seen, _ = play(Setting(), client_sends(GET), drain, backend_sends(OK))
    assert b"\r\nConnection: close\r\n" in seen["client"]


# -- those who do not read ---------------------------------------------------------------------

LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"b" * 60_000
LARGE_POST = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n" + b"b" * 8000


@pytest.mark.parametrize("size", [100, 4000, 9000, 16_000, 17_000, 60_000])
@pytest.mark.parametrize(
    "last", [client_reads, client_resets, client_half_closes, passes(150), cut]
)
@pytest.mark.parametrize("more", [b"", GET, GET + GET, NOT_PLAIN])
def test_a_client_that_does_not_read_gets_all_in_order(size: int, last: Event, more: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + some_bytes(size)
    events = [client_sends(GET), backend_sends(answer)] * 3
    later = [client_sends(more), last, backend_sends(answer), client_reads, backend_sends(answer)]
    play(Setting(narrow_client=True, idle=2), *events, *later)


def test_a_client_that_stops_reading_is_cut_as_soon_as_without_the_lane() -> None:
    setting = Setting(narrow_client=True)
    seen, took_part = play(setting, client_sends(GET), backend_sends(LARGE), passes(61))
    assert took_part
    assert seen["client state"]["reset"]


@pytest.mark.parametrize("size", [1000, 3000, 4000, 8000])
def test_a_backend_that_does_not_read_gets_all_in_order(size: int) -> None:
    body = some_bytes(size)
    post = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
    world = World(Setting(narrow_backend=True), has_lane=True)
    try:
        world.tell(client_sends(post))
        assert world.is_on_lane
        for _ in range(8):
            world.tell(backend_sends(OK))
            world.tell(client_sends(post))
            world.tell(backend_reads)
        world.tell(backend_sends(OK))
        for received in world.story()["backends"]:
            asked = received.split(body)
            assert asked.pop() == b""
            assert asked == [asked[0]] * len(asked)
        assert world.client.received.count(b"\r\n\r\nok") == 9
    finally:
        world.close()


@pytest.mark.parametrize("last", [backend_resets, client_resets, passes(301), drain, cut])
def test_a_backend_that_never_reads_keeps_nobody_for_ever(last: Event) -> None:
    world = World(Setting(narrow_backend=True), has_lane=True)
    try:
        world.tell(client_sends(LARGE_POST))
        while not world.asked.protocol.is_blocked:
            assert world.is_on_lane
            world.tell(backend_sends(OK))
            world.tell(client_sends(LARGE_POST))
        before = len(world.lines())
        assert world.connection.is_serving
        assert not world.is_on_lane
        for event in (last, backend_sends(OK), client_resets):
            world.tell(event)
        assert not world.connection.is_serving
        assert len(world.lines()) == before + 1
    finally:
        world.close()


# -- bodies of several reads -------------------------------------------------------------------

LONG_BODY = some_bytes(30_000)
LONG_POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\n" + LONG_BODY
BEGUN, REST = client_sends(LONG_POST[:3000]), client_sends(LONG_POST[3000:])
MORE, LAST = client_sends(LONG_POST[3000:20_000]), client_sends(LONG_POST[20_000:])
HEAD_FIRST = [client_sends(LONG_POST[:-30_000]), client_sends(LONG_BODY)]
EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"

BODY_STORIES: dict[str, list[Event]] = {
    "in pieces": [BEGUN, MORE, LAST, backend_sends(OK), client_sends(GET), backend_sends(OK)],
    "head first": [*HEAD_FIRST, backend_sends(OK)],
    "at once": [client_sends(LONG_POST), backend_sends(OK)],
    "a slow one": [BEGUN, passes(50), MORE, passes(50), LAST, passes(250), backend_sends(OK)],
    "nothing more comes": [BEGUN, passes(61), backend_sends(OK)],
    "nothing more after a while": [BEGUN, MORE, passes(61), LAST],
    "client resets": [BEGUN, client_resets],
    "client resets later": [BEGUN, MORE, client_resets],
    "client half-closes": [BEGUN, client_half_closes, backend_sends(OK)],
    "client half-closes behind it": [BEGUN, REST, client_half_closes, backend_sends(OK)],
    "backend resets": [BEGUN, backend_resets, REST],
    "backend resets behind it": [BEGUN, REST, backend_resets, backend_sends(OK)],
    "backend is gone": [BEGUN, backend_is_gone, MORE, LAST, backend_resets],
    "backend half-closes": [BEGUN, backend_half_closes, REST],
    "early answer": [BEGUN, backend_sends(EARLY), MORE, LAST, client_sends(GET)],
    "early answer in pieces": [BEGUN, backend_sends(EARLY[:9]), MORE, backend_sends(EARLY[9:])],
    "early answer, then the rest": [BEGUN, backend_sends(EARLY[:-1]), REST, backend_sends(b"o")],
    "interim answer": [BEGUN, backend_sends(b"HTTP/1.1 102 Wait\r\n\r\n"), REST, backend_sends(OK)],
    "one more behind it": [
        BEGUN,
        client_sends(LONG_POST[3000:] + GET),
        backend_sends(OK),
        backend_sends(OK),
    ],
    "half of one more behind it": [
        BEGUN,
        client_sends(LONG_POST[3000:] + GET[:7]),
        backend_sends(OK),
        client_sends(GET[7:]),
        backend_sends(OK),
    ],
    "junk behind it": [BEGUN, client_sends(LONG_POST[3000:] + b"\x00"), backend_sends(OK)],
    "drain": [BEGUN, drain, REST, backend_sends(OK)],
    "cut": [BEGUN, MORE, cut],
    "drain, then cut": [BEGUN, drain, MORE, cut],
}


@pytest.mark.parametrize("is_narrow", [False, True], ids=["", "narrow"])
@pytest.mark.parametrize("peer", [STRANGER, TRUSTED])
@pytest.mark.parametrize("events", BODY_STORIES.values(), ids=BODY_STORIES.keys())
def test_a_body_of_several_reads_ends_as_without_the_lane(
    events: list[Event], peer: str, is_narrow: bool
) -> None:
    _, took_part = play(Setting(peer, narrow_backend=is_narrow), *events)
    assert took_part or is_narrow


def test_a_body_of_several_reads_stays_on_the_lane() -> None:
    world = World(Setting(), has_lane=True)
    try:
        for event in (BEGUN, MORE, LAST):
            world.tell(event)
            assert world.is_on_lane
        world.tell(backend_sends(OK))
        assert not world.connection.is_serving
        world.tell(World.read_all)
        assert world.asked.received.endswith(b"\r\nContent-Length: 30000\r\n\r\n" + LONG_BODY)
    finally:
        world.close()


def test_a_body_that_comes_too_slowly_is_refused_as_without_the_lane() -> None:
    limits = Limits(min_body_rate=Size(1000), rate_grace=Duration(5))
    events = (BEGUN, passes(8), client_sends(LONG_POST[3000:3001]), passes(2), MORE)
    seen, took_part = play(Setting(limits=limits), *events)
    assert took_part
    assert b"HTTP/1.1 408" in seen["client"]


@pytest.mark.parametrize("size", [8000, 30_000, 300_000])
def test_a_backend_that_reads_slowly_gets_all_of_a_long_body(size: int) -> None:
    body = some_bytes(size)
    post = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
    world = World(Setting(narrow_backend=True), has_lane=True)
    try:
        world.tell(client_sends(post))
        for _ in range(1000):  # the smallest send buffer takes 300 bytes at a time and more
            world.tell(backend_reads)
            if world.asked.protocol.is_request_sent and not world.asked.protocol.is_blocked:
                break
        world.tell(backend_sends(OK))
        world.tell(client_sends(GET))
        world.tell(backend_sends(OK))
        world.tell(World.read_all)
        assert world.client.received.count(b"\r\n\r\nok") == 2
        assert world.asked.received.split(b"\r\n\r\n", 1)[1].startswith(body + b"GET /a ")
    finally:
        world.close()


# -- what nobody asked for -----------------------------------------------------------------------


def test_a_backend_that_speaks_unasked_is_not_asked_as_without_the_lane() -> None:
    again = (client_sends(GET), backend_sends(OK))
    seen, took_part = play(Setting(), backend_speaks_unasked, *again, *again)
    assert took_part
    assert [got.count(b"GET ") for got in seen["backends"]] == [0, 2]
    assert seen["client"].count(b"\r\n\r\nok") == 2


def test_what_was_sent_before_the_request_arrived_is_no_answer_as_without_the_lane() -> None:
    stolen = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    events = (client_sends(GET), backend_sends(stolen), backend_sends(OK))
    seen, took_part = play(Setting(deaf_backend=True), *events)
    assert took_part
    assert len(seen["backends"]) == 2
    assert b"stolen" not in seen["client"]
    assert seen["client"].endswith(b"\r\n\r\nok")


# -- limits of heads -----------------------------------------------------------------------------

SMALL = Limits(target_bytes=Size(64), header_count=5, header_bytes=Size(1024))
TOO_MUCH = {
    "a long target": (b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * 64), 414),
    "many fields": (GET[:-2] + b"A: b\r\n" * 5 + b"\r\n", 431),
    "a large head": (GET[:-2] + b"A: %b\r\n\r\n" % (b"b" * 1024), 431),
}


@pytest.mark.parametrize(("head", "status"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_a_head_beyond_the_limits_is_refused_as_without_the_lane(head: bytes, status: int) -> None:
    seen, took_part = play(Setting(limits=SMALL), client_sends(head))
    assert not took_part
    assert seen["client"].startswith(b"HTTP/1.1 %d " % status)


# -- limits of one client ------------------------------------------------------------------------

FORWARDED = GET[:-2] + b"X-Forwarded-For: 198.51.100.7\r\n\r\n"
LIMITS = {
    "requests": Limits(requests_per_client=0.001, request_burst=2),
    "connections": Limits(connections_per_client=1),
    "both": Limits(requests_per_client=0.001, request_burst=2, connections_per_client=1),
}


@pytest.mark.parametrize("peer", [STRANGER, TRUSTED, ""])
@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("events", STORIES.values(), ids=STORIES.keys())
def test_limits_of_a_client_hold_on_the_lane_as_without_it(
    events: list[Event], limits: Limits, peer: str
) -> None:
    rest = [client_sends(FORWARDED), backend_sends(OK)]
    play(Setting(peer, limits=limits), client_sends(FORWARDED), *events, *rest, *rest)


@pytest.mark.parametrize("peer", [STRANGER, TRUSTED])
def test_requests_within_the_limits_of_their_client_stay_on_the_lane(peer: str) -> None:
    world = World(Setting(peer, limits=LIMITS["both"]), has_lane=True)
    try:
        for _ in range(2):
            world.tell(client_sends(FORWARDED))
            assert world.is_on_lane
            world.tell(backend_sends(OK))
        world.tell(client_sends(FORWARDED))
        assert not world.connection.is_serving
        world.tell(World.read_all)
        assert b"HTTP/1.1 429" in world.client.received
    finally:
        world.close()


# -- anything ----------------------------------------------------------------------------------

PLAIN = st.sampled_from(
    (GET, HEAD, POST, EMPTY_POST, PUT, NOT_PLAIN, GET + GET, LONG_POST, LONG_POST[:3000])
)
ANSWERS = st.sampled_from((OK, CHUNKED, LARGE, OK[:-1], OK[:9], OK + b"x"))
EVENTS = st.one_of(
    st.builds(client_sends, PLAIN),
    st.builds(client_sends, requests(most=2)),
    st.builds(client_sends, st.sampled_from((LONG_POST[3000:], LONG_POST[3000:20_000], POST[:-2]))),
    st.builds(backend_sends, ANSWERS),
    st.builds(backend_sends, responses(most=2)),
    st.builds(backend_sends, st.just(OK)),
    st.builds(passes, st.sampled_from((1, 16, 61, 76, 301))),
    st.sampled_from(
        (
            *(client_half_closes, client_resets, client_reads),
            *(backend_half_closes, backend_resets, backend_is_gone, backend_reads, drain, cut),
        )
    ),
)
SETTINGS = st.builds(
    Setting,
    peer=st.sampled_from((STRANGER, TRUSTED, "")),
    idle=st.integers(0, 3),
    narrow_client=st.booleans(),
    limits=st.sampled_from((Limits(), LIMITS["both"])),
)


@examples(80)
@given(SETTINGS, st.lists(EVENTS, min_size=1, max_size=10))
def test_any_story_ends_as_without_the_lane(setting: Setting, events: list[Event]) -> None:
    play(setting, client_sends(GET), *events)


# -- what is left ------------------------------------------------------------------------------


def test_the_lane_is_free_again_after_every_answer() -> None:
    world = World(Setting(), has_lane=True)
    try:
        for request in (GET, POST, NOT_PLAIN, HEAD, PUT):
            world.tell(client_sends(request))
            assert world.is_on_lane is (request is not NOT_PLAIN)
            world.tell(backend_sends(OK if request is not HEAD else OK[:-2]))
            assert not world.connection.is_serving
    finally:
        world.close()
