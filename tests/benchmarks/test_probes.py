"""What the prober of the storm found reaches who asked for it, however much it is."""

import socket
import subprocess
import sys
import time
from multiprocessing.connection import Pipe
from pathlib import Path

from benchmarks.processes import forked, free_port, wait_for
from benchmarks.storm import probes

RATE = 2000.0


def test_more_figures_than_the_pipe_holds_arrive(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "benchmarks.storm.backend", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as application:
        try:
            wait_for(port, log)
            found = _probed(port)
        finally:
            application.terminate()
    asked = len(found.kept_ms) + len(found.fresh_ms)
    assert asked > 1000
    assert found.endings == {"200": asked}


def _probed(port: int) -> probes.Probes:
    here, there = Pipe()
    with socket.socket(fileno=there.fileno()) as pipe:
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the kernel gives
        pipe.detach()
    process = forked(probes.run, ("127.0.0.1", port), RATE, there)
    there.close()
    time.sleep(1.0)  # it is to have much to tell
    here.send(None)
    found = here.recv()
    process.join()
    assert isinstance(found, probes.Probes)
    return found
