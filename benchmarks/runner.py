"""Asking: everybody in turn, round after round, so that what disturbs the machine disturbs all."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.question import Contestant, Peer, Question, Site


@dataclass(slots=True)
class Findings:
    """Figures by contestant for each question, and remarks on what is not among them."""

    figures: dict[Question, dict[str, float]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Runner:
    """`directory`: for everything that is written; `origin`: port of the backend."""

    directory: Path
    origin: int
    rounds: int
    scale: float

    def ask_all(self, questions: Iterable[Question]) -> Findings:
        """Every question whose needs are met, to every contestant whose needs are met."""
        findings = Findings()
        for number, question in enumerate(questions):
            print(f"{question.title} ", end="", file=sys.stderr, flush=True)
            if absent := [str(need) for need in question.needs if not need.is_met]:
                findings.remarks.append(f"{question.title}: not asked without {', '.join(absent)}")
            else:
                findings.figures[question] = self._ask(number, question, findings.remarks)
            print(file=sys.stderr)
        return findings

    def _ask(self, number: int, question: Question, remarks: list[str]) -> dict[str, float]:
        figures: dict[str, list[float]] = {}
        with ExitStack() as stack:
            peers = [
                stack.enter_context(each.start(self._site(number, each)))
                for each in self._present(question, remarks)
            ]
            for _ in range(min(self.rounds, question.rounds)):
                for peer in list(peers):
                    if (figure := self._figure(question, peer, remarks)) is None:
                        peers.remove(peer)
                        figures.pop(peer.name, None)
                    else:
                        figures.setdefault(peer.name, []).append(figure)
        return {name: question.pick(values) for name, values in figures.items()}

    def _site(self, number: int, contestant: Contestant) -> Site:
        directory = self.directory / f"{number}-{contestant.name.replace(' ', '-')}"
        directory.mkdir()
        return Site(directory, self.origin)

    def _present(self, question: Question, remarks: list[str]) -> list[Contestant]:
        present = []
        for contestant in question.contestants:
            absent = [str(need) for need in contestant.needs if not need.is_met]
            remark = f"{contestant.name}: left out without {', '.join(absent)}"
            if not absent:
                present.append(contestant)
            elif remark not in remarks:
                remarks.append(remark)
        return present

    def _figure(self, question: Question, peer: Peer, remarks: list[str]) -> float | None:
        try:
            figure = question.ask(peer, self.scale)
        except (OSError, RuntimeError) as error:
            remarks.append(f"{question.title}: {peer.name} failed: {error}")
            return None
        print(".", end="", file=sys.stderr, flush=True)
        return figure
