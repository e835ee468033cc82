"""Checks that need a process, or a build, of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_memory_stays_flat_over_a_hundred_thousand_parts():
    run(sys.executable, "-m", "tests.isolated.chunker_leaks")


@pytest.mark.timeout(600)  # it builds, and everything takes three times as long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="the sanitized build needs gcc")
def test_the_sanitizers_find_nothing():
    run("tests/isolated/asan.sh", sys.executable)
