"""What is measured is what the kernel accounted to all processes of a contestant, no others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.processes import Bystanders, cpu_seconds, family, free_port, running, wait_for

ROOT = Path(__file__).parents[2]
WORK = "import time\nwhile time.process_time() < 0.2: pass\n"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WORK + "input()"!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate()
"""
# Its child ends it as soon as it can, while it may not yet know that it has a child.
INTERRUPTED = """
import os, signal
from pathlib import Path
from benchmarks.processes import LOAD_CORE, family, output_of, running

signal.signal(signal.SIGTERM, signal.default_int_handler)
command = ["sh", "-c", "kill -TERM $PPID; exec sleep 60"]
try:
    {start}
except KeyboardInterrupt:
    print(len(family(os.getpid())))
"""


@pytest.mark.parametrize(
    "start",
    [
        "output_of(command, LOAD_CORE)",
        "with running(command, LOAD_CORE, Path(os.devnull)): signal.pause()",
    ],
)
def test_who_is_interrupted_has_waited_for_what_it_started(start: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(start=start)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_the_cpu_of_children_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert family(parent.pid) == [parent.pid, child]
        while cpu_seconds(child) < 0.2:
            os.sched_yield()
        assert cpu_seconds(parent.pid) >= cpu_seconds(child) >= 0.2
        parent.communicate(b"\n")
    assert cpu_seconds(child) == 0


def test_bystanders_took_what_neither_we_nor_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(now: float, cores: float, ours: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        monkeypatch.setattr(processes, "_cores_seconds", lambda: cores)
        monkeypatch.setattr(processes, "_our_seconds", lambda: ours)

    monkeypatch.setattr(processes, "CORES_USED", {4, 5})
    at(100, cores=50, ours=20)
    bystanders = Bystanders()
    at(110, cores=62, ours=23)
    assert bystanders.share() == pytest.approx((12 - 3) / 2 / 10)


def test_our_own_work_is_that_of_all_we_started_whether_it_has_ended_or_not() -> None:
    before = processes._our_seconds()
    subprocess.run([sys.executable, "-c", WORK], check=True)
    assert processes._our_seconds() - before > 0.18  # the kernel rounds to hundredths
    with subprocess.Popen([sys.executable, "-c", WORK + "input()"], stdin=-1) as process:
        while cpu_seconds(process.pid) < 0.2:
            os.sched_yield()
        assert processes._our_seconds() - before > 0.38
        process.communicate(b"\n")


def test_work_on_our_cores_is_seen() -> None:
    before = processes._cores_seconds()
    with processes.on_core(processes.PROXY_CORE):
        subprocess.run([sys.executable, "-c", WORK], check=True)
    assert processes._cores_seconds() - before > 0.15


def test_what_runs_is_on_its_core_and_ends_with_the_block(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    with running(["sleep", "60"], core, tmp_path / "log") as pid:
        assert os.sched_getaffinity(pid) == {core}
        assert os.sched_getaffinity(0) == before
    assert not Path(f"/proc/{pid}").exists()


def test_who_does_not_answer_is_told_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.processes.START_S", 0.1)
    log = tmp_path / "log"
    log.write_text("unknown directive")
    with pytest.raises(RuntimeError, match="unknown directive"):
        wait_for(free_port(), log)
