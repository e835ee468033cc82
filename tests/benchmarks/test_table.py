"""The table shows every figure, our ratio to it, and plainly whether a target is met."""

import pytest

from benchmarks.question import OURS, Contestant, Peer, Question, Target
from benchmarks.runner import Findings
from benchmarks.table import cell, number, row, table, verdict

FIGURES = {OURS: 12.0, "nginx": 15.0, "HAProxy": 10.0, "memcpy": 6.0}


def question(*targets: Target, known: str = "") -> Question:
    def ask(peer: Peer, scale: float) -> float:
        raise AssertionError("nobody is asked here")

    contestants: tuple[Contestant, ...] = ()
    return Question("small request", "us", ask, contestants, targets, known=known)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"),
        (0.0567, "0.057"),
        (0.567, "0.567"),
        (5.678, "5.68"),
        (56.78, "56.8"),
        (1234.5, "1,234"),
    ],
)
def test_a_figure_has_three_digits_and_no_exponent(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_cell_has_the_figure_and_ours_as_a_multiple_of_it() -> None:
    assert cell("nginx", FIGURES) == "15.0 (0.80)"
    assert cell("HAProxy", FIGURES) == "10.0 (1.20)"


def test_our_own_cell_has_no_ratio_and_one_that_was_not_asked_a_dash() -> None:
    assert cell(OURS, FIGURES) == "12.0"
    assert cell("Caddy", FIGURES) == "-"


def test_no_ratio_is_made_up_without_our_figure_or_to_nothing() -> None:
    assert cell("nginx", {"nginx": 15.0}) == "15.0"
    assert cell("nginx", {OURS: 1.0, "nginx": 0.0}) == "0.000"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (Target(0.8, "nginx"), "<= 0.8 x nginx: met (0.80)"),
        (Target(0.79, "nginx"), "<= 0.79 x nginx: NOT MET (0.80)"),
        (Target(1.2, "HAProxy", at_least=True), ">= 1.2 x HAProxy: met (1.20)"),
        (Target(1.3, "HAProxy", at_least=True), ">= 1.3 x HAProxy: NOT MET (1.20)"),
        (Target(12), "<= 12: met"),
        (Target(11.9), "<= 11.9: NOT MET"),
        (Target(13, at_least=True), ">= 13: NOT MET"),
        (Target(1, "Caddy"), "<= 1 x Caddy: not measured"),
    ],
)
def test_a_verdict_says_what_was_wanted_and_what_was_found(target: Target, shown: str) -> None:
    assert verdict(target, FIGURES) == shown


def test_a_target_cannot_be_judged_without_our_figure() -> None:
    assert verdict(Target(12), {"nginx": 1.0}) == "<= 12: not measured"


def test_contestants_without_a_column_stand_among_the_others() -> None:
    cells = row(question(Target(1, "nginx"), Target(2)), FIGURES)
    assert cells == (
        *("small request", "us", "12.0", "15.0 (0.80)", "10.0 (1.20)", "-", "-"),
        *("memcpy 6.00 (2.00)", "<= 1 x nginx: met (0.80); <= 2: NOT MET"),
    )


def test_the_table_is_aligned_and_tells_what_is_not_in_it() -> None:
    findings = Findings(
        {question(): FIGURES, question(known="Workhorse 200"): {OURS: 1.0}},
        ["Caddy: left out without caddy (Debian: caddy)"],
        ["small request: nginx failed: refused"],
    )
    lines = table(findings).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert [line.count("|") for line in lines[:4]] == [10] * 4
    assert lines[-3:] == [
        "For orientation, not of this run: small request: Workhorse 200.",
        "Caddy: left out without caddy (Debian: caddy)",
        "small request: nginx failed: refused",
    ]


@pytest.mark.parametrize(("share", "is_told"), [(0.0, False), (0.019, False), (0.41, True)])
def test_the_table_tells_when_others_used_the_cores(share: float, is_told: bool) -> None:
    text = table(Findings({question(): FIGURES}, bystanders=share))
    assert ("Other programs took 41% of the cores" in text) is is_told
    assert ("Other programs" in text) is is_told
