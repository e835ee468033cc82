"""All questions to all contestants in one run, taking turns; one table of medians and ratios."""

import argparse
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    bodies,
    chunker,
    connections,
    latency,
    memory,
    polls,
    scaling,
    sending,
    small,
    startup,
    tls,
    uploads,
)
from benchmarks.chart import chart
from benchmarks.processes import CORES, LOAD_CORE, ORIGIN_CORE, free_port, running, wait_for
from benchmarks.question import Question
from benchmarks.runner import Findings, Runner
from benchmarks.table import table

QUESTIONS: tuple[Question, ...] = (
    *small.QUESTIONS,
    *latency.QUESTIONS,
    *bodies.QUESTIONS,
    *sending.QUESTIONS,
    *tls.QUESTIONS,
    *uploads.QUESTIONS,
    *connections.QUESTIONS,
    *memory.QUESTIONS,
    *polls.QUESTIONS,
    *scaling.QUESTIONS,
    *chunker.QUESTIONS,
    *startup.QUESTIONS,
)
QUICK_SCALE = 0.05


def chosen(text: str) -> list[Question]:
    """The question with this title, or else all whose title holds the text."""
    exact = [question for question in QUESTIONS if question.title == text]
    return exact or [question for question in QUESTIONS if text in question.title]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is asked (5)")
    parser.add_argument("--only", default="", help="only questions whose title holds this")
    parser.add_argument(
        "--quick", action="store_true", help="one short round: whether it works, not how fast"
    )
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--chart", type=Path, help="also draw the figures into this file (SVG)")
    options = parser.parse_args(arguments)
    options.questions = chosen(options.only)
    if not options.questions:
        titles = "\n  ".join(question.title for question in QUESTIONS)
        parser.error(f"no question holds {options.only!r}; there are:\n  {titles}")
    return options


def run(options: argparse.Namespace) -> Findings:
    """Start the backend and ask."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name:
        directory, origin = Path(name), free_port()
        log = directory / "origin.log"
        command = [sys.executable, "-m", "benchmarks.origin", str(origin)]
        with running(command, ORIGIN_CORE, log):
            wait_for(origin, log)
            rounds = 1 if options.quick else options.rounds
            scale = QUICK_SCALE if options.quick else 1.0
            return Runner(directory, origin, rounds, scale).ask_all(options.questions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run. 1: something failed, and the table says what."""
    options = parsed(arguments)
    if len(CORES) < 2:
        print("two cores are needed: one for the proxy, one for the load", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {LOAD_CORE})
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the proxies inherit it
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end what was started, then
    findings = run(options)
    print(table(findings))
    if options.output:
        options.output.write_text(table(findings) + "\n")
    if options.chart:
        options.chart.write_text(chart(findings))
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main())
