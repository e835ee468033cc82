"""Every case in every cut: refused, or forwarded so that all readers read the same."""

import asyncio
import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.conformance.cases import Case, load_cases
from tests.conformance.limits import LIMIT_CASES
from tests.conformance.obfuscations import GENERATED
from tests.conformance.parsers import Message, by_h11, differences
from tests.conformance.plays import CUTS, Outcome, play
from tests.conformance.site import Site, play_on_site
from tests.conformance.witness import WitnessConnection

CASES = [*load_cases(), *LIMIT_CASES]
ALL = [*CASES, *itertools.chain.from_iterable(GENERATED.values())]
_AT_ONCE = 48
_WARM = b"GET /p/$ID HTTP/1.1\r\nHost: h\r\n\r\n"
_MARK = re.compile(rb"/(?:p|smuggled|canary)/([0-9a-z]{3})")


class Results:
    """What came of all plays."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.seen: dict[bytes, list[Message]] = defaultdict(list)
        self.unsent: list[Message] = []
        self.disputed: list[object] = []
        self.by_lane = 0

    def read(self, connections: Iterable[WitnessConnection]) -> None:
        """Let the parsers judge what the backend was sent."""
        for connection in connections:
            stream = bytes(connection.stream)
            reading = by_h11(stream)
            if others := differences(stream, reading):
                self.disputed.append((stream, reading.end, others))
            for message in reading.messages:
                mark = _MARK.search(message.target)
                if mark is None or b"/smuggled/" in message.target:
                    self.unsent.append(message)
                else:
                    self.seen[mark[1]].append(message)


def _chosen(items: Iterable[pytest.Item]) -> list[Case]:
    """What the tests that were chosen look at: one case, one kind, or all there is."""
    chosen: dict[str, Case] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.path == Path(__file__):
            asked = item.callspec.params if hasattr(item, "callspec") else {}
            cases = [asked["case"]] if "case" in asked else GENERATED.get(asked.get("kind"), ALL)
            chosen.update((case.id, case) for case in cases)
    return list(chosen.values())


async def _play_all(cases: Sequence[Case], site: Site) -> Results:
    results = Results()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(case: Case, cut: str) -> None:
        async with gate:
            outcome = await play(site.address, case.send, cut, **case.play)
            results.outcomes[case.id, cut] = outcome

    # First as many as are played at once, so that there are kept connections for the express lane.
    warm = (play(site.address, _WARM, "whole", answers=1, closes=False) for _ in range(_AT_ONCE))
    await asyncio.gather(*warm)
    await asyncio.gather(*(one(case, cut) for cut in CUTS for case in cases))
    results.read(site.witness.connections)
    results.by_lane = site.by_lane
    return results


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Results:
    return play_on_site(functools.partial(_play_all, _chosen(request.session.items)))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_ends_as_it_must(results: Results, case: Case, cut: str) -> None:
    outcome = results.outcomes[case.id, cut]
    assert case.complaints(outcome, results.seen[outcome.mark]) == []


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", GENERATED)
def test_odd_spellings_end_as_they_must(results: Results, kind: str, cut: str) -> None:
    outcomes = [(case, results.outcomes[case.id, cut]) for case in GENERATED[kind]]
    found = {case.id: case.complaints(o, results.seen[o.mark]) for case, o in outcomes}
    assert {id_: complaints for id_, complaints in found.items() if complaints} == {}


def test_no_two_cases_have_one_name() -> None:
    assert len({case.id for case in ALL}) == len(ALL) > 1500


def test_all_parsers_read_the_same_from_every_connection_of_the_backend(results: Results) -> None:
    assert results.disputed == []


def test_the_backend_never_saw_a_request_that_nobody_sent(results: Results) -> None:
    assert results.unsent == []


def test_no_request_has_what_is_of_the_hop_or_only_ours_to_say(results: Results) -> None:
    hop = {b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection"}
    for message in itertools.chain.from_iterable(results.seen.values()):
        names = {name for name, _ in message.fields}
        assert not names & hop, message
        assert not [n for n in names if n.replace(b"_", b"-").startswith(b"fastproxy-")], message
        assert message.all(b"x-forwarded-for") == [b"127.0.0.1"]
        assert message.all(b"x-forwarded-proto") == [b"http"]
        assert message.all(b"x-forwarded-host") == message.all(b"host")
        assert [len(value) for value in message.all(b"x-request-id")] == [32]


def test_some_plays_took_the_express_lane_and_some_did_not(results: Results) -> None:
    requests = sum(map(len, results.seen.values()))
    assert len(ALL) < results.by_lane < requests
