"""What frames a body frames an upload, too: it is stored byte for byte, or refused and gone."""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastproxy.config.schema import Auth, LocalStore, ProxyRoute, UploadRoute
from tests.conformance.cases import Case, load_cases
from tests.conformance.obfuscations import GENERATED
from tests.conformance.parsers import Message
from tests.conformance.plays import CUTS, Outcome, play
from tests.conformance.site import Site, play_on_site
from tests.conformance.witness import WitnessConnection, echo

_FRAMING = {1, 2, 3, 4, 5, 6, 7, 12}
_PERMISSION = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.fastproxy.authorize+json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)


def _is_one_upload(case: Case) -> bool:
    is_post = case.send.startswith(b"POST /p/$ID ")
    return is_post and len(case.forward) + bool(case.refuse) == 1


CASES = [case for case in load_cases() if case.number in _FRAMING and _is_one_upload(case)]
ODD = [
    case
    for kind in ("odd codings", "odd lengths", "odd sizes")
    for case in GENERATED[kind]
    if _is_one_upload(case)
]


@dataclass
class Backend:
    """Permits every upload; `stored`: what it found where the report said."""

    stored: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def answer(self, connection: WitnessConnection, request: Message) -> bytes | None:
        if request.all(b"fastproxy-authorize"):
            return _PERMISSION
        if request.all(b"fastproxy-upload"):
            told = json.loads(request.body)["upload"]
            body = Path(told["path"]).read_bytes()
            assert told["size"] == len(body)
            self.stored[request.target.split(b"/")[2]].append(body)
        return echo(connection, request)


@dataclass
class Results:
    """`left`: files in the store at the end."""

    outcomes: dict[tuple[str, str], Outcome]
    stored: dict[bytes, list[bytes]]
    left: int


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    home = tmp_path_factory.mktemp("uploads")
    (home / "secret").write_bytes(b"a shared secret of 32 bytes long")
    (home / "objects").mkdir()
    backend = Backend()
    gate = asyncio.Semaphore(32)
    outcomes: dict[tuple[str, str], Outcome] = {}

    async def one(site: Site, case: Case, cut: str) -> None:
        async with gate:
            outcomes[case.id, cut] = await play(site.address, case.send, cut, **case.play)

    async def use(site: Site) -> None:
        await asyncio.gather(*(one(site, case, cut) for cut in CUTS for case in [*CASES, *ODD]))

    play_on_site(
        use,
        [UploadRoute(path="/p/*", name="upload"), ProxyRoute(name="rest")],
        answer=backend.answer,
        auth=Auth(secret_file=str(home / "secret")),
        store={"default": LocalStore(path=str(home / "objects"), fsync=False)},
    )
    files = (path for path in (home / "objects").rglob("*") if path.is_file())
    left = sum(path.name != "lock" for path in files)
    return Results(outcomes, backend.stored, left)


def complaints(results: Results, case: Case, cut: str) -> list[str]:
    """What was not as it must be."""
    outcome = results.outcomes[case.id, cut]
    wanted = (200,) if case.forward else case.refuse
    found = [*outcome.trouble]
    if len(outcome.statuses) != 1 or outcome.statuses[0] not in wanted:
        found.append(f"statuses {outcome.statuses}")
    bodies = [one.body.encode("latin-1").replace(b"$ID", outcome.mark) for one in case.forward]
    if results.stored[outcome.mark] != bodies:
        found.append(f"stored {results.stored[outcome.mark]}")
    return found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_upload_ends_as_it_must(results: Results, case: Case, cut: str) -> None:
    assert complaints(results, case, cut) == []


@pytest.mark.parametrize("cut", CUTS)
def test_odd_spellings_of_uploads_end_as_they_must(results: Results, cut: str) -> None:
    found = {case.id: complaints(results, case, cut) for case in ODD}
    assert {id_: each for id_, each in found.items() if each} == {}


def test_nothing_is_left_of_what_was_refused(results: Results) -> None:
    assert results.left == sum(map(len, results.stored.values())) > 50
