"""Has each class of README.md a test that fails without its rule?

    python -m tests.conformance.mutations [class ...]

In a copy of the tree the rules are taken out one by one, as mutations/*.toml say; what is compiled
of them is compiled again, and then a test of that class must fail. All of it takes about half an
hour. Ends with 1 when some rule is not missed, or when a test fails while all rules are there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.conformance.classes import HERE, PLACES, tests_of
from tests.support.child import REPOSITORY

DATA = HERE / "mutations"
_PATIENCE_S = 60  # of one test: without its rule it may wait for ever
_HANGS_S = 600  # of a class: a test that loops in compiled code hears of no limit of its own
_LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")


@dataclass(frozen=True)
class Edit:
    """`old` stands once in fastproxy/`file`; `new` takes its place."""

    file: str
    old: str
    new: str

    def of(self, text: str) -> str:
        """`text` without the rule. Raises ValueError when it is not there, or more than once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    """`without`: what is not so any more."""

    number: int
    without: str
    edits: tuple[Edit, ...]


class End(Enum):
    """Of the tests of a class."""

    PASSED = "passed"
    FAILED = "failed"
    HUNG = "hung"  # which is noticed, too
    BROKEN = "broken"  # no test ran


def load_mutations() -> list[Mutation]:
    """All of the data files, one room after the other, for each change means compiling."""
    found = [
        Mutation(table["class"], table["without"], tuple(Edit(**edit) for edit in table["edit"]))
        for path in DATA.glob("*.toml")
        for table in tomllib.loads(path.read_text())["mutation"]
    ]
    return sorted(found, key=lambda one: ([e.file for e in one.edits], one.number, one.without))


class Copy:
    """A tree that may be spoiled."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_stale = False  # what is compiled is older than its source
        # Tests start programs elsewhere, which must not find the tree that this is a copy of.
        self._env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}

    @contextmanager
    def without(self, mutation: Mutation) -> Iterator[None]:
        """The rule is not there meanwhile."""
        files = {self._root / "fastproxy" / edit.file for edit in mutation.edits}
        kept = {file: file.read_text() for file in files}
        is_compiled = any(any(file.parent.glob(f"{file.stem}.*.so")) for file in files)
        try:
            for edit in mutation.edits:
                file = self._root / "fastproxy" / edit.file
                file.write_text(edit.of(file.read_text()))
            self._is_stale |= is_compiled
            self.build()
            yield
        finally:
            for file, text in kept.items():
                file.write_text(text)
            self._is_stale |= is_compiled

    def build(self) -> None:
        """Compile what has changed. Raises CalledProcessError."""
        if not self._is_stale:
            return
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        done = subprocess.run(command, cwd=self._root, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            done.check_returncode()
        self._is_stale = False

    def test(self, number: int) -> tuple[End, str]:
        """Play the tests of a class up to the first that fails; how it ended, and what was said."""
        files, names = tests_of(number)
        options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", f"--timeout={_PATIENCE_S}"]
        command = [sys.executable, "-m", "pytest", *options, *files, "-k", names]
        try:
            done = subprocess.run(
                command,
                cwd=self._root,
                env=self._env,
                capture_output=True,
                text=True,
                timeout=_HANGS_S,
            )
        except subprocess.TimeoutExpired:
            return End.HUNG, f"no end within {_HANGS_S} s"
        end = {0: End.PASSED, 1: End.FAILED}.get(done.returncode, End.BROKEN)
        return end, done.stdout + done.stderr


@contextmanager
def copy_of_tree() -> Iterator[Copy]:
    """With what was built."""
    with tempfile.TemporaryDirectory(prefix="fp-mutations-") as directory:
        root = Path(directory, "tree")
        shutil.copytree(REPOSITORY, root, ignore=_LEFT_BEHIND, symlinks=True)
        yield Copy(root)


def unmissed(tree: Copy, mutations: Sequence[Mutation]) -> list[str]:
    """What nobody notices, one line each. Prints how it goes."""
    found: list[str] = []
    for mutation in mutations:
        with tree.without(mutation):
            end, said = tree.test(mutation.number)
        line = f"{mutation.number:2} without: {mutation.without}: {end.value}"
        print(line, flush=True)
        if end not in (End.FAILED, End.HUNG):
            found.append(line)
        if end is End.BROKEN:
            print(said, file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.mutations")
    parser.add_argument("classes", nargs="*", type=int, metavar="class", help="all without one")
    chosen = set(parser.parse_args().classes) or set(PLACES)
    with copy_of_tree() as tree:
        found = unmissed(tree, [one for one in load_mutations() if one.number in chosen])
        tree.build()
        for number in sorted(chosen):
            end, said = tree.test(number)
            if end is not End.PASSED:
                found.append(f"{number:2} with all rules: {end.value}")
                print(said, file=sys.stderr)
    print(f"{len(found)} complaints", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
