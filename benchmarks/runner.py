"""Asking: everybody in turn, round after round, so that what disturbs the machine disturbs all."""

import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bystanders import Bystanders
from benchmarks.question import Contestant, Peer, Question, Site


@dataclass(slots=True)
class Findings:
    """Figures by contestant for each question, and why some are not there.

    `bystanders`: what other programs took of the cores meanwhile (0 to 1).
    """

    figures: dict[Question, dict[str, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    bystanders: float = 0.0


@dataclass(slots=True)
class Runner:
    """`directory`: for everything that is written; `origin`: port of the backend."""

    directory: Path
    origin: int
    rounds: int
    scale: float
    findings: Findings = field(default_factory=Findings)

    def ask_all(self, questions: Iterable[Question]) -> Findings:
        """Every question whose needs are met, to every contestant whose needs are met.

        Interrupted, it comes back with what was found until then.
        """
        bystanders = Bystanders()
        try:
            for question in questions:
                self._ask_if_possible(question)
        except KeyboardInterrupt:
            self.findings.failures.append("interrupted: the rest was not asked")
        self.findings.bystanders = bystanders.share()
        return self.findings

    def _ask_if_possible(self, question: Question) -> None:
        print(f"{question.title} ", end="", file=sys.stderr, flush=True)
        absent = ", ".join(str(need) for need in question.needs if not need.is_met)
        if absent:
            self.findings.left_out.append(f"{question.title}: not asked without {absent}")
        else:
            self.findings.figures[question] = self._ask(question)
        print(file=sys.stderr)

    def _ask(self, question: Question) -> dict[str, float]:
        figures: dict[str, list[float]] = {}
        with ExitStack() as stack:
            peers = [
                peer
                for contestant in self._present(question)
                if (peer := self._started(question, contestant, stack))
            ]
            for _ in range(min(self.rounds, question.rounds)):
                for peer in list(peers):
                    if (figure := self._figure(question, peer)) is None:
                        peers.remove(peer)
                        figures.pop(peer.name, None)
                    else:
                        figures.setdefault(peer.name, []).append(figure)
        return {name: question.pick(values) for name, values in figures.items()}

    def _present(self, question: Question) -> list[Contestant]:
        present = []
        for contestant in question.contestants:
            absent = ", ".join(str(need) for need in contestant.needs if not need.is_met)
            remark = f"{contestant.name}: left out without {absent}"
            if not absent:
                present.append(contestant)
            elif remark not in self.findings.left_out:
                self.findings.left_out.append(remark)
        return present

    def _started(self, question: Question, contestant: Contestant, stack: ExitStack) -> Peer | None:
        site = Site(Path(tempfile.mkdtemp(dir=self.directory)), self.origin)
        try:
            return stack.enter_context(contestant.start(site))
        except (OSError, RuntimeError) as error:
            self._failed(question, contestant.name, error)
            return None

    def _figure(self, question: Question, peer: Peer) -> float | None:
        try:
            figure = question.ask(peer, self.scale)
        except (OSError, RuntimeError) as error:
            self._failed(question, peer.name, error)
            return None
        print(".", end="", file=sys.stderr, flush=True)
        return figure

    def _failed(self, question: Question, name: str, error: Exception) -> None:
        print("!", end="", file=sys.stderr, flush=True)
        self.findings.failures.append(f"{question.title}: {name} failed: {error}")
