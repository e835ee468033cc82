"""`python -m tests.soak.git --mib 100`: twenty real git clients at once with a large repository.

All of them clone it, fetch what was added since, and push, four of them much; one more asks for all
of it and reads nothing. What fastproxy's own processes hold meanwhile, git's apart, is compared
with what they held after one clone.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accounting import peak_of, resident_bytes
from tests.flow.git_site import Forge, begin_fetch, forged, wanting
from tests.service.running import children
from tests.support.git import git, head_of, noise

CLIENTS = 20
MUCH = 4  # of them push a quarter of the repository's size each
FILES = 25
MAIN = "refs/heads/main"
# Nothing here compresses, so nobody tries.
PLAIN = ("-c", "core.compression=0", "-c", "pack.compression=0")
SETTINGS = {"receive.unpackLimit": "1", "pack.window": "0", "pack.threads": "1"}
MAY_GROW = 8 << 20  # while they are there: 3.5 MiB were seen
MAY_STAY = 6 << 20


@dataclass
class Verdict:
    """`faults` must be empty. Bytes, more than after one clone."""

    grown: int = 0
    stayed: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = f"grown by {self.grown >> 10} KiB, {self.stayed >> 10} KiB stayed"
        return "\n".join([words, *self.faults, f"{len(self.faults)} faults"])


def play(home: Path, mib: int) -> Verdict:
    """With a repository of about that many MiB."""
    # A quiet machine has a clone of 100 MiB in three seconds; a busy one takes its time.
    patient = {"config": SETTINGS, "processes": CLIENTS + 1, "queue_timeout": "10m"}
    with forged(home / "site", git=patient) as forge:
        return _Crowd(forge, home, (mib << 20) // FILES).play()


class _Crowd:
    def __init__(self, forge: Forge, home: Path, file_bytes: int) -> None:
        self._forge = forge
        self._file_bytes = file_bytes
        self._copies = [home / f"{number}" for number in range(CLIENTS)]
        self._first = home / "first"
        self._pids = [forge.site.pid, *children(forge.site.pid)]
        self._most = 0
        self._verdict = Verdict()

    def play(self) -> Verdict:
        bare = self._forge.bare
        add(bare, MAIN, [self._file_bytes] * FILES, seed=1000)
        git("clone", "--quiet", "--no-checkout", self._forge.url(), self._first)
        before = self._now()
        with self._watched(), begin_fetch(self._forge, wanting(self._forge)):
            self._all(self._clone)
            since = add(bare, MAIN, [self._file_bytes], seed=2000)
            self._all(self._fetch)
        heads = {head_of(copy, "refs/remotes/origin/main") for copy in self._copies}
        self._expect(heads == {since}, "not all have what was added")
        pushed = [self._add(number) for number in range(CLIENTS)]
        with self._watched():
            self._all(self._push)
        heads = [head_of(bare, topic(number)) for number in range(CLIENTS)]
        self._expect(heads == pushed, "not all that was pushed is there")
        git("fsck", "--strict", cwd=bare)
        self._forge.site.at_rest()
        self._verdict.grown, self._verdict.stayed = self._most - before, self._now() - before
        self._expect(self._verdict.grown < MAY_GROW, "more memory than twenty clients may take")
        self._expect(self._verdict.stayed < MAY_STAY, "memory that did not come back")
        return self._verdict

    def _expect(self, is_true: bool, fault: str) -> None:
        if not is_true:
            self._verdict.faults.append(fault)

    # -- clients -------------------------------------------------------------------------------

    def _all(self, work: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(work, range(CLIENTS)))

    def _clone(self, number: int) -> None:
        git("clone", "--quiet", "--no-checkout", self._forge.ann, self._copies[number])

    def _fetch(self, number: int) -> None:
        git("fetch", "--quiet", "origin", cwd=self._copies[number])

    def _add(self, number: int) -> str:
        sizes = [self._file_bytes] * (FILES // 4) if number < MUCH else [1000]
        return add(self._copies[number], topic(number), sizes, seed=3000 + 100 * number)

    def _push(self, number: int) -> None:
        git(*PLAIN, "push", "--quiet", "origin", topic(number), cwd=self._copies[number])

    # -- memory --------------------------------------------------------------------------------

    def _now(self) -> int:
        return sum(map(resident_bytes, self._pids))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with peak_of(self._now) as peak:
            yield
        self._most = max(self._most, peak.value)


def topic(number: int) -> str:
    """The branch of one client."""
    return f"refs/heads/topic{number}"


def add(repository: Path, ref: str, sizes: list[int], seed: int) -> str:
    """A commit with new files on `ref`, after `main`; made without a working tree. Its id."""
    head = f"commit {ref}\ncommitter Ann <ann@example.org> {seed} +0000\ndata 0\n"
    words = [f"{head}from {head_of(repository, MAIN)}\n".encode()]
    for number, size in enumerate(sizes):
        words.append(f"M 100644 inline {seed}/{number}\ndata {size}\n".encode())
        words += [noise(size, seed + number), b"\n"]
    command = ["git", *PLAIN, "fast-import", "--quiet"]
    subprocess.run(command, cwd=repository, input=b"".join(words), check=True)
    return head_of(repository, ref)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.git", description=__doc__)
    parser.add_argument("--mib", type=int, default=100)
    mib = parser.parse_args().mib
    with tempfile.TemporaryDirectory(prefix="fp-soak-git-") as directory:
        verdict = play(Path(directory), mib)
    print(verdict)
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
