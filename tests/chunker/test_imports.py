"""Who embeds the chunker pays for the chunker only, and the stub tells what the module does."""

import subprocess
import sys

import pytest

HEAVY = "{'asyncio', 'uvloop', 'httptools', 'aioboto3', 'typing', 'inspect', 'ssl', 'socket'}"


@pytest.mark.parametrize("module", ["fastproxy._chunker", "fastproxy.chunker"])
def test_importing_the_chunker_imports_nothing_heavy(module):
    # -S -I: what the environment's .pth files import is not ours.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules); import {module}; "
        f"new = set(sys.modules) - before; print(sorted(new & {HEAVY} | "
        "{m for m in new if m.startswith('fastproxy') and 'chunker' not in m} - {'fastproxy'}))"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_the_stub_describes_the_compiled_module(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text("fastproxy._chunker.__test__\n")  # Cython adds it
    command = [sys.executable, "-m", "mypy.stubtest", "fastproxy._chunker"]
    run = subprocess.run([*command, "--allowlist", str(allowed)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
