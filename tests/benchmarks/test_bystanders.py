"""What others took of our cores is what neither we nor nobody did."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import bystanders
from benchmarks.accounting import cpu_seconds
from benchmarks.bystanders import Bystanders
from tests.benchmarks.test_accounting import WORK


def test_bystanders_took_what_neither_we_nor_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(now: float, cores: float, ours: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: now)
        monkeypatch.setattr(bystanders, "busy_seconds", lambda _: cores)
        monkeypatch.setattr(bystanders, "_our_seconds", lambda: ours)

    monkeypatch.setattr(bystanders, "CORES_USED", {4, 5})
    at(100, cores=50, ours=20)
    seen = Bystanders()
    at(110, cores=62, ours=23)
    assert seen.share() == pytest.approx((12 - 3) / 2 / 10)


def test_our_own_work_is_that_of_all_we_started_whether_it_has_ended_or_not() -> None:
    before = bystanders._our_seconds()
    subprocess.run([sys.executable, "-c", WORK], check=True)
    assert bystanders._our_seconds() - before > 0.18  # the kernel rounds to hundredths
    with subprocess.Popen([sys.executable, "-c", WORK + "input()"], stdin=-1) as process:
        while cpu_seconds(process.pid) < 0.2:
            os.sched_yield()
        assert bystanders._our_seconds() - before > 0.38
        process.communicate(b"\n")
