"""All questions to all contestants in one run, taking turns; one table of medians and ratios."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bodies, connections, small
from benchmarks.processes import CORES, LOAD_CORE, free_port, running, wait_for
from benchmarks.question import Question
from benchmarks.runner import Findings, Runner
from benchmarks.table import table

QUESTIONS: tuple[Question, ...] = (
    *small.QUESTIONS,
    *bodies.QUESTIONS,
    *connections.QUESTIONS,
)
QUICK_SCALE = 0.05


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is asked (5)")
    parser.add_argument("--only", default="", help="only questions whose title holds this")
    parser.add_argument(
        "--quick", action="store_true", help="one short round: whether it works, not how fast"
    )
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    options = parser.parse_args(arguments)
    options.questions = [each for each in QUESTIONS if options.only in each.title]
    if not options.questions:
        parser.error(f"no question holds {options.only!r}")
    return options


def run(options: argparse.Namespace) -> Findings:
    """Start the backend and ask."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name:
        directory, origin = Path(name), free_port()
        log = directory / "origin.log"
        command = [sys.executable, "-m", "benchmarks.origin", str(origin)]
        with running(command, LOAD_CORE, log):
            wait_for(origin, log)
            rounds = 1 if options.quick else options.rounds
            scale = QUICK_SCALE if options.quick else 1.0
            return Runner(directory, origin, rounds, scale).ask_all(options.questions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run."""
    options = parsed(arguments)
    if len(CORES) < 2:
        print("two cores are needed: one for the proxy, one for the load", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {LOAD_CORE})
    text = table(run(options))
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
