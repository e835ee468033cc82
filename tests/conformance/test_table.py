"""docs/conformance.md is about these cases, and what it says of fastproxy is true."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.table import (
    DOCUMENT,
    PEERS,
    SOUND,
    UNSOUND,
    Verdicts,
    play,
    sound_row,
    unsound_rows,
)
from tests.conformance.verdicts import Verdict, judge
from tests.support.fault_proxy import fault_proxy

_ROW = re.compile(r"^\| (.+?) \| (\d[^|]*) \| (\d[^|]*) \| (\d[^|]*) \|$", re.MULTILINE)
TEXT = DOCUMENT.read_text()
SHOWN = {title: cells for title, *cells in _ROW.findall(TEXT)}


@pytest.fixture(scope="module")
def ours() -> dict[str, Verdicts]:
    return {"fastproxy": play("fastproxy")}


def test_its_column_is_true(ours: dict[str, Verdicts]) -> None:
    rows = [*unsound_rows(ours), sound_row(ours)]
    assert {title: cells[0] for title, cells in SHOWN.items()} == dict(rows)


def test_it_refuses_all_that_is_not_sound_and_passes_all_that_is(ours: dict[str, Verdicts]) -> None:
    (verdicts,) = ours.values()
    assert [case.id for case in UNSOUND if verdicts[case.id] is not Verdict.REFUSED] == []
    assert [case.id for case in SOUND if verdicts[case.id] is not Verdict.PASSED] == []


def test_the_columns_of_the_others_are_about_the_same_cases() -> None:
    assert re.search(r"^\| class \| " + r" \| ".join(PEERS) + r" \|$", TEXT, re.MULTILINE)
    for title, cells in SHOWN.items():
        sums = {sum(map(int, cell.split(" / "))) for cell in cells}
        assert len(sums) == 1, title


@contextmanager
def relay(backend: int) -> Iterator[int]:
    with fault_proxy("127.0.0.1", backend) as running:
        yield running.port


def test_who_passes_everything_on_is_found_out() -> None:
    """A relay of bytes is no proxy: it is judged by what it lets through."""
    cases = [case for case in UNSOUND if case.number in (1, 3, 8, 9)][:30]
    verdicts = judge(relay, cases)
    assert Verdict.APART in verdicts
    assert verdicts.count(Verdict.REFUSED) < len(cases) / 2
