"""All questions to all peers in one run, taking turns; one table of medians and ratios.

python -m benchmarks [--rounds N] [--only TEXT] [--output FILE]
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import LOAD_CORE, PEERS, Peer, missing
from benchmarks.processes import free_port, running, wait_for
from benchmarks.questions import QUESTIONS, Question


def measure(question: Question, peers: list[Peer], rounds: int) -> dict[str, float]:
    """One figure by peer; the peers take turns within each round."""
    figures: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            figures[peer.name].append(question.ask(peer))
            print(".", end="", file=sys.stderr, flush=True)
    return {name: question.pick(values) for name, values in figures.items()}


def row(question: Question, found: dict[str, float]) -> str:
    """One line of the table; the ratio is ours to the best peer's."""
    ours = found["fastproxy"]
    others = [value for name, value in found.items() if name != "fastproxy"]
    cells = " | ".join(f"{found[name]:9.2f}" for name in found)
    return f"| {question.title:53} | {question.unit:14} | {cells} | {ours / min(others):6.2f} |"


def table(results: dict[Question, dict[str, float]]) -> str:
    """Everything that was measured."""
    names = list(next(iter(results.values())))
    head = " | ".join(f"{name:>9}" for name in names)
    lines = [
        f"| {'question':53} | {'unit':14} | {head} | /best  |",
        f"|{'-' * 55}|{'-' * 16}|{'|'.join('-' * 11 for _ in names)}|--------|",
        *(row(question, found) for question, found in results.items()),
        "",
        "* nginx and HAProxy only pass the same body through to the backend.",
        f"{os.cpu_count()} cores; proxy on one, load and backend on another; medians of rounds.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only questions whose title holds this")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    asked = [question for question in QUESTIONS if options.only in question.title]
    if not asked:
        parser.error(f"no question holds {options.only!r}")
    if absent := missing():
        print("not installed: " + ", ".join(absent), file=sys.stderr)
        return 2
    if (os.cpu_count() or 1) < 2:
        print("two cores are needed: one for the proxy, one for the load", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory, origin = Path(name), free_port()
        log = directory / "origin.log"
        command = [sys.executable, "-m", "benchmarks.origin", str(origin)]
        stack.enter_context(running(command, LOAD_CORE, log))
        wait_for(origin, log)
        peers = [stack.enter_context(start(directory, origin)) for start in PEERS]
        results = {question: measure(question, peers, options.rounds) for question in asked}
    print(file=sys.stderr)
    print(table(results))
    if options.output:
        options.output.write_text(table(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
