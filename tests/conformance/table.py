"""Who takes what: `python -m tests.conformance.table` writes docs/conformance.md.

Needs nginx and haproxy on the PATH; takes about a minute.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.conformance.cases import Case, load_cases
from tests.conformance.classes import TITLES
from tests.conformance.limits import LIMIT_CASES
from tests.conformance.obfuscations import GENERATED
from tests.conformance.peers import PEERS, version
from tests.conformance.verdicts import Verdict, judge
from tests.support.child import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "conformance.md"
WRITTEN = load_cases()
CASES: list[Case] = [*WRITTEN, *LIMIT_CASES, *itertools.chain.from_iterable(GENERATED.values())]
# How long heads may be is each server's own affair.
UNSOUND = [case for case in CASES if case.refuse and case.number not in (16, 20)]
SOUND = [case for case in CASES if not case.refuse]
REFUSED, PASSED, ALIKE, APART = Verdict
WORDS = {ALIKE: "takes it", APART: "takes it, some readers differ"}
Verdicts = dict[str, Verdict]  # by the id of a case

_BEGIN = """\
# Conformance

The requests of [tests/conformance](../tests/conformance/README.md), played to fastproxy, and to
nginx {nginx} and HAProxy {haproxy} as Debian has them, each with an ordinary configuration. What
they sent on was read by h11, `http.server`, aiohttp's parser in Python and gunicorn's. Made by

```sh
python -m tests.conformance.table
```

Rows are classes of faults. To accept what the RFC does not allow is harmless as long as all behind
it read the same; a request that two of these parsers read differently can be smuggled past the one
by the other. fastproxy refuses all of them.

## Requests that nobody should send

Of each class: how many were **refused** / taken and **read alike** by all parsers / taken and
**read differently**, or refused, by some of them.

"""
_MIDDLE = """
## Requests that are fine

How many arrived whole / did not, or as something else / were read differently, or refused, by some
of the parsers.

"""
_LAST = """
## One by one

Of those that were written by hand: what somebody takes although it is not sound.

"""


def play(name: str) -> Verdicts:
    """What one of PEERS does with all cases."""
    verdicts = judge(PEERS[name], CASES)
    return {case.id: verdict for case, verdict in zip(CASES, verdicts, strict=True)}


def cell(cases: Iterable[Case], verdicts: Verdicts, order: tuple[Verdict, ...]) -> str:
    """Counts, in that order."""
    counts = Counter(verdicts[case.id] for case in cases)
    return " / ".join(str(counts[verdict]) for verdict in order)


def _rows(head: str, columns: Iterable[str], rows: Iterable[list[str]]) -> Iterator[str]:
    titles = [head, *columns]
    yield "| " + " | ".join(titles) + " |"
    yield "| --- |" + " --- |" * (len(titles) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def unsound_rows(found: dict[str, Verdicts]) -> list[list[str]]:
    """Class by class."""
    by_class: dict[int, list[Case]] = defaultdict(list)
    for case in UNSOUND:
        by_class[case.number].append(case)
    order = (REFUSED, ALIKE, APART)
    return [
        [TITLES[n], *(cell(cases, verdicts, order) for verdicts in found.values())]
        for n, cases in sorted(by_class.items())
    ]


def sound_row(found: dict[str, Verdicts]) -> list[str]:
    """All in one."""
    order = (PASSED, REFUSED, APART)
    cells = []
    for verdicts in found.values():
        both = {id_: REFUSED if v is ALIKE else v for id_, v in verdicts.items()}
        cells.append(cell(SOUND, both, order))
    return [f"{len(SOUND)} requests", *cells]


def _taken(found: dict[str, Verdicts]) -> Iterator[list[str]]:
    for case in WRITTEN:
        said = [WORDS.get(verdicts[case.id], "") for verdicts in found.values()]
        if case in UNSOUND and any(said):
            yield [f"{TITLES[case.number]}: {case.name}", *said]


def document(found: dict[str, Verdicts]) -> str:
    """The text of docs/conformance.md."""
    parts = [
        _BEGIN.format(nginx=version("nginx"), haproxy=version("HAProxy")),
        *(line + "\n" for line in _rows("class", found, unsound_rows(found))),
        _MIDDLE,
        *(line + "\n" for line in _rows("all", found, [sound_row(found)])),
        _LAST,
        *(line + "\n" for line in _rows("class: request", found, _taken(found))),
    ]
    return "".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document({name: play(name) for name in PEERS}))
    print(f"written: {DOCUMENT.relative_to(REPOSITORY)}")
