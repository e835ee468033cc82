"""Processes that never outlive the test process, however that ends."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).parents[2]


def mortal(command: Sequence[str]) -> list[str]:
    """`command`, killed by the kernel when the thread that starts it ends."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


@contextmanager
def python(code: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A running `python -c code arguments` and its standard output; killed when the block ends."""
    process = subprocess.Popen(
        mortal([sys.executable, "-c", code, *arguments]), stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
