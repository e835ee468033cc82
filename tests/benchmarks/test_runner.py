"""Contestants take turns, medians are kept, and whoever is not there is named with the reason."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.question import Contestant, Need, Peer, Question, Site
from benchmarks.runner import Findings, Runner

NOT_INSTALLED = Need("no-such-program", debian="no-such-package")


class Town:
    """Contestants that note when they start, are asked and end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[str] = []

    def contestant(self, name: str, *needs: Need, start: Exception | None = None) -> Contestant:
        @contextmanager
        def run(site: Site) -> Iterator[Peer]:
            if start:
                raise start
            self.events.append(f"+{name}")
            yield Peer(name, site.origin, 0, site.directory)
            self.events.append(f"-{name}")

        return Contestant(name, run, needs)

    def ask(self, answer: Callable[[str, int], float]) -> Callable[[Peer, float], float]:
        """`answer(name, how often it was asked before)`."""

        def ask(peer: Peer, scale: float) -> float:
            before = self.events.count(peer.name)
            self.events.append(peer.name)
            return answer(peer.name, before) * scale

        return ask

    def run(self, *questions: Question, rounds: int = 3, scale: float = 1.0) -> Findings:
        return Runner(self.directory, 1, rounds, scale).ask_all(questions)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


def test_contestants_take_turns_within_each_round(town: Town) -> None:
    contestants = town.contestant("a"), town.contestant("b")
    town.run(Question("?", "s", town.ask(lambda *_: 1), contestants))
    assert town.events == ["+a", "+b", *["a", "b"] * 3, "-b", "-a"]


def test_the_median_of_the_rounds_is_kept(town: Town) -> None:
    question = Question("?", "s", town.ask(lambda _, n: [9, 2, 4][n]), (town.contestant("a"),))
    assert town.run(question).figures == {question: {"a": 4}}


def test_a_question_may_choose_another_figure_and_fewer_rounds(town: Town) -> None:
    ask = town.ask(lambda _, n: [2, 9, 4][n])
    question = Question("?", "s", ask, (town.contestant("a"),), pick=max, rounds=2)
    assert town.run(question).figures == {question: {"a": 9}}
    assert town.events.count("a") == 2


def test_the_scale_reaches_the_question(town: Town) -> None:
    question = Question("?", "s", town.ask(lambda *_: 8), (town.contestant("a"),))
    assert town.run(question, scale=0.25).figures[question] == {"a": 2}


def test_who_is_not_installed_is_left_out_and_named_once_with_the_package(town: Town) -> None:
    contestants = town.contestant("a"), town.contestant("b", NOT_INSTALLED)
    questions = [Question(title, "s", town.ask(lambda *_: 1), contestants) for title in "?!"]
    findings = town.run(*questions)
    assert findings.left_out == ["b: left out without no-such-program (Debian: no-such-package)"]
    assert [list(found) for found in findings.figures.values()] == [["a"], ["a"]]
    assert findings.failures == []


def test_a_question_whose_tool_is_not_installed_is_not_asked(town: Town) -> None:
    ask = town.ask(lambda *_: 1)
    findings = town.run(Question("?", "s", ask, (town.contestant("a"),), needs=(NOT_INSTALLED,)))
    assert findings.figures == {}
    assert findings.left_out == ["?: not asked without no-such-program (Debian: no-such-package)"]
    assert town.events == []


def test_who_fails_is_left_out_and_the_others_go_on(town: Town) -> None:
    def answer(name: str, before: int) -> float:
        if name == "a" and before == 1:
            raise RuntimeError("closed")
        return 5

    question = Question("?", "s", town.ask(answer), (town.contestant("a"), town.contestant("b")))
    findings = town.run(question)
    assert findings.figures == {question: {"b": 5}}
    assert findings.failures == ["?: a failed: closed"]
    assert town.events == ["+a", "+b", "a", "b", "a", "b", "b", "-b", "-a"]


def test_who_does_not_start_is_left_out_and_the_others_are_asked(town: Town) -> None:
    broken = town.contestant("a", start=RuntimeError("bad configuration"))
    question = Question("?", "s", town.ask(lambda *_: 5), (broken, town.contestant("b")))
    findings = town.run(question)
    assert findings.figures == {question: {"b": 5}}
    assert findings.failures == ["?: a failed: bad configuration"]


def test_an_interruption_keeps_what_was_found(town: Town) -> None:
    def interrupt(name: str, before: int) -> float:
        raise KeyboardInterrupt

    first = Question("?", "s", town.ask(lambda *_: 5), (town.contestant("a"),))
    second = Question("!", "s", town.ask(interrupt), (town.contestant("a"),))
    findings = town.run(first, second, rounds=1)
    assert findings.figures == {first: {"a": 5}}
    assert findings.failures == ["interrupted: the rest was not asked"]
    assert town.events == ["+a", "a", "-a", "+a", "a"]


def test_a_module_that_is_not_installed_is_named_with_its_package() -> None:
    assert Need("json", pypi="json").is_met
    absent = Need("no_such_module", pypi="no-such-package")
    assert not absent.is_met
    assert str(absent) == "no_such_module (PyPI: no-such-package)"


def test_what_is_not_compiled_names_the_command_that_compiles_it() -> None:
    absent = Need("benchmarks.no_such_module", command="scripts/setup test")
    assert not absent.is_met
    assert str(absent) == "benchmarks.no_such_module (compiled by: scripts/setup test)"
