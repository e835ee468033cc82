"""Very many slow uploads of unknown length at once, and what becomes of all others meanwhile.

    python -m benchmarks.storm [--uploads N] [--concurrency N] [--minutes M] ...

starts fastproxy, an object store that judges every byte (benchmarks/sink.py), an application, load
processes and a prober, all on this machine, and prints one table. It ends with 1 when an upload was
refused, an object is not byte-exact, or another request failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import end_on_sigterm
from benchmarks.storm.run import Plan, storm


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--uploads", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=35_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it shall take")
    parser.add_argument("--ramp", type=float, default=60.0, help="seconds until all have begun")
    parser.add_argument("--workers", type=int, default=4, help="of fastproxy")
    parser.add_argument("--budget", type=int, default=128, help="MiB of memory of each worker")
    parser.add_argument("--rate", type=float, default=50.0, help="other requests a second")
    parser.add_argument("--spread", type=float, default=0.4, help="of the times of uploads, 0 to 1")
    parser.add_argument("--spill", type=Path, help="directory for spill files (a temporary one)")
    parser.add_argument("--keep", type=Path, help="an empty directory for logs, kept afterwards")
    options = parser.parse_args()
    plan = Plan(
        uploads=options.uploads,
        concurrency=options.concurrency,
        minutes=options.minutes,
        ramp_s=options.ramp,
        workers=options.workers,
        budget_mib=options.budget,
        rate=options.rate,
        spread=options.spread,
    )
    end_on_sigterm()
    with tempfile.TemporaryDirectory() as name:
        home = options.keep or Path(name)
        findings = storm(plan, home, options.spill or home)
    print(findings.table())
    for fault in findings.faults():
        print(f"WRONG: {fault}")
    return 1 if findings.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
