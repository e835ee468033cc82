"""The processes of the demo: started, watched, and ended by their ids."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

PATIENCE_S: Final = 10.0
_LOOK_S: Final = 1.0


class ChildEnded(Exception):
    """A process that should run does not; the text says which."""


class Children:
    """Processes in sessions of their own: Ctrl-C reaches only us, and we end them in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, command: Sequence[str], log: Path | None = None) -> None:
        """Start `command`; what it says goes to `log`, or where ours goes."""
        output: IO[bytes] | None = log.open("ab") if log else None
        try:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env=_environment(),
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        self._running.append((name, process))

    def check(self) -> None:
        """Raises ChildEnded when one is gone."""
        for name, process in self._running:
            if process.poll() is not None:
                raise ChildEnded(f"{name} ended with status {process.returncode}")

    def wait(self) -> None:
        """Block until one ends. Raises ChildEnded."""
        descriptors = [os.pidfd_open(process.pid) for _, process in self._running]
        try:
            while True:
                self.check()
                # Not for ever: a signal that came just before the call does not interrupt it.
                select.select(descriptors, [], [], _LOOK_S)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def end(self) -> None:
        """End all, the last one first: each is asked, then what is left of its group is killed."""
        for _, process in reversed(self._running):
            process.send_signal(signal.SIGINT)
            _await_exit(process)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()


def _environment() -> dict[str, str]:
    """Ours, without settings of some other fastproxy, and with the modules that we see."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FASTPROXY_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait without reaping: the id stays taken, so that its group can be killed safely."""
    if process.returncode is None:
        descriptor = os.pidfd_open(process.pid)
        try:
            select.select([descriptor], [], [], PATIENCE_S)
        finally:
            os.close(descriptor)
