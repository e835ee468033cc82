"""That the plays are what they claim to be, and that a bad proxy would be found out."""

import asyncio

import pytest

from tests.conformance.cases import load_cases
from tests.conformance.parsers import PARSERS, Message, by_h11, differences, read_by
from tests.conformance.plays import CUTS, Talk, play
from tests.conformance.site import Site, play_on_site
from tests.support.waiting import until

RAW = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
STREAM = (
    b"GET /1 HTTP/1.1\r\nHost: h\r\nX-A:  b \r\n\r\n"
    b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    b"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"HEAD /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("cut", CUTS)
def test_each_piece_is_read_by_itself(cut: str) -> None:
    reads: list[bytes] = []
    ended = asyncio.Event()

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            reads.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    async def use(site: Site) -> None:
        server = await asyncio.get_running_loop().create_server(Reader, "127.0.0.1", 0)
        talk = await Talk.open(server.sockets[0].getsockname())
        await talk.send(CUTS[cut](RAW), eof=True)
        await ended.wait()
        talk.close()
        server.close()

    play_on_site(use)
    assert reads == CUTS[cut](RAW)
    assert b"".join(reads) == RAW


def test_pieces_are_as_small_as_they_claim() -> None:
    assert CUTS["bytes"](RAW) == [bytes([byte]) for byte in RAW]
    assert CUTS["lines"](b"a\r\n\r\nb\n") == [b"a\r", b"\n", b"\r", b"\n", b"b\n"]


def test_the_parsers_read_an_honest_stream_alike() -> None:
    reading = by_h11(STREAM)
    assert [m.target for m in reading.messages] == [b"/1", b"/2", b"/3", b"/4"]
    assert [m.framing for m in reading.messages] == ["none", "length", "chunked", "length"]
    assert [m.body for m in reading.messages] == [b"", b"abc", b"abc", b""]
    assert reading.end == "clean"
    assert differences(STREAM, reading) == {}


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_sees_where_a_stream_was_cut(parser: str) -> None:
    counts = set()
    for size in range(1, len(STREAM)):
        reading = PARSERS[parser](STREAM[:size])
        assert reading.messages == by_h11(STREAM[:size]).messages, STREAM[:size]
        assert reading.end in ("clean", "incomplete")
        counts.add(len(reading.messages))
    assert counts == {0, 1, 2, 3}


def test_the_parsers_do_not_read_everything_alike() -> None:
    fields = b"Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
    raw = b"POST / HTTP/1.1\r\n%b\r\n0\r\n\r\n" % fields
    readings = {read_by(parser, raw) for parser in PARSERS}
    assert len(readings) > 1


def test_a_proxy_that_passes_everything_on_is_found_out() -> None:
    """The witness in the place of the proxy: what it is sent is what the client sent."""
    cases = load_cases()

    async def use(site: Site) -> tuple[int, list[Message]]:
        address = ("127.0.0.1", site.witness.port)
        site.witness.answer = lambda connection, request: None
        talks = [await Talk.open(address) for _ in cases]
        for talk, case in zip(talks, cases, strict=True):
            await talk.send([case.send], eof=True)
        await until(lambda: all(talk.is_over for talk in talks))
        for talk in talks:
            talk.close()
        streams = [bytes(connection.stream) for connection in site.witness.connections]
        disputed = [stream for stream in streams if differences(stream, by_h11(stream))]
        smuggled = [m for s in streams for m in by_h11(s).messages if b"/smuggled/" in m.target]
        return len(disputed), smuggled

    disputed, smuggled = play_on_site(use)
    assert disputed > len(cases) / 4
    assert smuggled


def test_a_request_that_was_not_expected_is_a_complaint() -> None:
    case = next(case for case in load_cases() if case.name == "length then coding")

    async def use(site: Site) -> list[str]:
        raw = b"POST /p/$ID HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
        outcome = await play(site.address, raw, "whole", answers=1, closes=False)
        seen = [m for c in site.witness.connections for m in by_h11(bytes(c.stream)).messages]
        return case.complaints(outcome, seen)

    complaints = " ".join(play_on_site(use))
    for complaint in ("not refused", "the backend got", "canaries"):
        assert complaint in complaints
