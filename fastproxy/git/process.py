"""One running program of git's, in a process group of its own, of which nothing outlives it."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from typing import IO, Final, Self, cast

from fastproxy.errors import GitFailed
from fastproxy.git.command import Command
from fastproxy.git.orphans import GRACE_S, MARK
from fastproxy.git.pipes import Complaints, Inlet, Outlet

LEAVE_S: Final = 30.0  # for a program that has its whole input and is still at work


class GitProcess:
    """Starts at once. Raises GitFailed when it cannot.

    It has its own session, so a signal to ours does not reach it, and one to it reaches all that it
    starts. `ended` is called once, when it is reaped.
    """

    def __init__(self, program: str, command: Command, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._is_writing = command.is_writing
        self._process = process = _spawn(program, command)
        self.inlet = Inlet(cast("IO[bytes]", process.stdin))
        self.outlet = Outlet(cast("IO[bytes]", process.stdout))
        self.complaints = Complaints(cast("IO[bytes]", process.stderr))
        self.exit: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._killing: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """Of the program, and of its group."""
        return self._process.pid

    async def ended(self) -> int:
        """Its exit status, once it has ended; negative: the signal that ended it."""
        await asyncio.wait((self.exit,))  # which does not cancel it with us
        return self.exit.result()

    def leave(self) -> None:
        """Nobody wants the rest.

        What writes is let end, which it does at the end of its input: since git 2.39 a signal makes
        it leave its temporary objects behind. What only reads is ended.
        """
        if self.exit.done() or not self._is_writing:
            self.terminate()
        elif self._killing is None:
            self.inlet.close()
            self.outlet.discard()
            self._killing = self._loop.call_later(LEAVE_S, self.terminate)

    def terminate(self) -> None:
        """Ask it to end, and soon make it."""
        self._close_pipes()
        if not self.exit.done():
            self._signal(signal.SIGTERM)
            self._kill_after(GRACE_S)

    def _kill_after(self, seconds: float) -> None:
        if self._killing is not None:
            self._killing.cancel()
        self._killing = self._loop.call_later(seconds, self.kill)

    def kill(self) -> None:
        """End it now."""
        if not self.exit.done():
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so the number is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._signal(signal.SIGKILL)  # what it has started and left behind
        if self._killing is not None:
            self._killing.cancel()
            self._close_pipes()  # nobody reads what is in them
        self.exit.set_result(self._process.wait())
        self._ended()

    def _close_pipes(self) -> None:
        for pipe in (self.inlet, self.outlet, self.complaints):
            pipe.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()


def _spawn(program: str, command: Command) -> subprocess.Popen[bytes]:
    # vfork, which takes 0.3 ms however much memory we hold; the loop's own way took 24 ms here.
    # The directory is the one that was opened: no name can be made to mean another meanwhile.
    try:
        return subprocess.Popen(  # noqa: S603 - no shell; every argument is ours
            [command.program or program, *command.arguments],
            cwd=f"/proc/self/fd/{command.directory}",
            env={**command.environment(), MARK: str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise GitFailed(f"cannot run {program}: {error}") from error
