"""Odd answers of a backend: what a client gets of them, and whether the connection is kept."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final

import pytest

from fastproxy.config.schema import ProxyRoute
from tests.conformance.answers import CLIENTS, INCOMPLETE, Answer
from tests.conformance.obfuscations import ODD_RESPONSES
from tests.conformance.parsers import Message
from tests.conformance.plays import CUTS, PATIENCE_S, Outcome, Talk, canaries
from tests.conformance.responses import ResponseCase, load_responses
from tests.conformance.site import Site, new_id, play_on_site
from tests.conformance.witness import WitnessConnection, echo

CASES = load_responses()
ALL: Final = [*CASES, *ODD_RESPONSES]
_BACKENDS: Final = [f"b{number}" for number in range(12)]
_OURS: Final = re.compile(rb"\r\n\r\n(502 backend: [a-z-]+\n)\Z").search


@dataclass
class Seen(Outcome):
    """`raw`: what the client got of the answer; `is_kept`: the backend's connection lives."""

    raw: bytes = b""
    is_kept: bool = False


Results = dict[tuple[str, str], Seen]


@dataclass
class Stage:
    """What the backend called `host` plays next, and on which connection it did."""

    host: bytes
    pieces: list[bytes] = field(default_factory=list)
    eof: bool = False
    used: WitnessConnection | None = None
    playing: asyncio.Task[None] | None = None

    def answer(self, connection: WitnessConnection, request: Message) -> bytes | None:
        if b"/r/" not in request.target:
            return echo(connection, request)
        self.used = connection
        self.playing = asyncio.get_running_loop().create_task(self._play(connection))
        return None

    async def _play(self, connection: WitnessConnection) -> None:
        for piece in self.pieces:
            if connection.transport.is_closing():
                return
            connection.transport.write(piece)
            await asyncio.sleep(0)
        if self.eof and not connection.transport.is_closing():
            connection.transport.write_eof()


async def _play(site: Site, stage: Stage, case: ResponseCase, cut: str) -> Seen:
    seen = Seen(new_id())
    stage.pieces, stage.eof, stage.used = CUTS[cut](case.send), case.eof, None
    talk = await Talk.open(site.address)
    try:
        async with asyncio.timeout(PATIENCE_S):
            target = b"/r/%b" % seen.mark
            line = b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n"
            await talk.send([line % (case.method.encode(), target, stage.host)])
            reply = await talk.reply(is_head=case.method == "HEAD")
            seen.raw = bytes(talk.raw)
            assert stage.playing is not None
            assert stage.used is not None
            await stage.playing
            if not case.pooled:
                await stage.used.lost.wait()
            if reply is None:
                talk.buffer.clear()  # of an answer that was cut
            closes = reply is None
            await canaries(site.address, seen, talk, closes=closes, host=stage.host)
            seen.is_kept = not stage.used.lost.is_set()
    except TimeoutError:
        seen.trouble.append(f"silence: {bytes(talk.raw)!r}")
    finally:
        talk.close()
    return seen


async def _play_all(site: Site) -> Results:
    """Before one backend, one after the other: what comes late must not meet another's request."""
    results: Results = {}
    plays = iter([(case, cut) for cut in CUTS for case in ALL])

    async def one_backend(name: str) -> None:
        stage = Stage(name.encode())
        site.witnesses[name].answer = site.watching(stage.answer)
        for case, cut in plays:
            results[case.id, cut] = await _play(site, stage, case, cut)

    await asyncio.gather(*map(one_backend, _BACKENDS))
    return results


@pytest.fixture(scope="module")
def results() -> Results:
    routes = [ProxyRoute(host=name, backend=name) for name in _BACKENDS]
    return play_on_site(_play_all, routes, _BACKENDS)


def complaints(case: ResponseCase, seen: Seen) -> list[str]:
    """What was not as it must be."""
    found = [*seen.trouble]
    if seen.is_kept is not case.pooled:
        found.append("the backend's connection was kept" if seen.is_kept else "was not kept")
    readings = {name: parse(seen.raw, case.method) for name, parse in CLIENTS.items()}
    ours = _OURS(seen.raw)
    wanted = Answer(case.status, case.body or b"", "whole")
    if case.cut and ours is None:
        wanted = INCOMPLETE
    elif case.body is None:
        wanted = Answer(502, ours[1] if ours else b"", "whole")
    found += [f"{name} reads {got}" for name, got in readings.items() if got != wanted]
    lines = seen.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    found += [f"no {line!r}" for line in case.fields if line.encode("latin-1") not in lines]
    names = {line.partition(b":")[0].lower() for line in lines[1:]}
    found += [f"with {name}" for name in case.without if name.lower().encode() in names]
    return found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_answer_ends_as_it_must(results: Results, case: ResponseCase, cut: str) -> None:
    assert complaints(case, results[case.id, cut]) == []


@pytest.mark.parametrize("cut", CUTS)
def test_odd_spellings_in_answers_end_as_they_must(results: Results, cut: str) -> None:
    found = {case.id: complaints(case, results[case.id, cut]) for case in ODD_RESPONSES}
    assert {id_: each for id_, each in found.items() if each} == {}


def test_no_two_cases_have_one_name() -> None:
    assert len({case.id for case in ALL}) == len(ALL) > 300
