"""`python -m tests.soak --minutes 10`: ends with 1 when anything was wrong."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.servers.seaweed import shared_seaweed
from tests.soak.run import soak
from tests.soak.town import town


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="fp-soak-") as directory:
        home = Path(directory)
        with shared_seaweed(home / "seaweed") as seaweed, town(home / "site", seaweed) as around:
            verdict = soak(around, minutes * 60, lambda act: print(act, flush=True))
    print(verdict)
    return 1 if verdict.faults else 0


sys.exit(main())
