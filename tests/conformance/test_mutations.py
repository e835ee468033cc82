"""The rules that mutations.py takes out are there; all of them, one by one, is its own affair."""

from collections.abc import Iterator

import pytest

from tests.conformance.classes import PLACES
from tests.conformance.mutations import (
    Copy,
    Edit,
    End,
    Mutation,
    copy_of_tree,
    load_mutations,
    unmissed,
)
from tests.support.child import REPOSITORY

ALL = load_mutations()
QUICK = [one for one in ALL if one.number == 34]  # nothing to compile, and no server to start


def test_every_class_has_one() -> None:
    assert {one.number for one in ALL} == set(PLACES)


@pytest.mark.parametrize("mutation", ALL, ids=lambda one: f"{one.number:02}-{one.without}")
def test_its_rule_is_where_it_says(mutation: Mutation) -> None:
    texts = {e.file: (REPOSITORY / "fastproxy" / e.file).read_text() for e in mutation.edits}
    for edit in mutation.edits:
        texts[edit.file] = edit.of(texts[edit.file])


@pytest.fixture(scope="module")
def tree() -> Iterator[Copy]:
    with copy_of_tree() as copy:
        yield copy


def test_a_rule_that_is_gone_is_missed(tree: Copy) -> None:
    assert QUICK
    assert unmissed(tree, QUICK) == []


def test_a_rule_that_nobody_needs_is_found_out(tree: Copy) -> None:
    spare = Mutation(34, "a word", (Edit("uploads/answer.py", "too long or with", "with"),))
    assert unmissed(tree, [spare]) == ["34 without: a word: passed"]
    assert tree.test(34)[0] is End.PASSED
