"""Every promise of the threat model names tests that exist, and its links lead somewhere."""

import re

import pytest

from tests.docs.shell import ROOT

TEXT = (ROOT / "THREAT_MODEL.md").read_text("utf-8")
POLICY = (ROOT / "SECURITY.md").read_text("utf-8")
_, _, _PROMISES = TEXT.partition("## Promises\n")
ROWS = [row for row in _PROMISES.partition("\n## ")[0].splitlines() if row.startswith("| ")][2:]


def test_there_are_promises() -> None:
    assert len(ROWS) > 8


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_a_promise_is_held_by_tests(row: str) -> None:
    tests = row.strip("| ").split("|")[-1]
    named = re.findall(r"tests/[\w./]+", tests)
    assert named
    for name in named:
        path = ROOT / name
        assert path.exists()
        assert path.is_file() or list(path.glob("test_*.py"))


@pytest.mark.parametrize("text", [TEXT, POLICY], ids=["threat model", "policy"])
def test_links_lead_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (ROOT / target).exists(), target
