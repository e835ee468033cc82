"""All programs of git's that one worker runs: so many at once, others wait for their turn."""

import asyncio
from collections import deque
from typing import Final

from fastproxy.errors import GitBusy
from fastproxy.git.command import Command
from fastproxy.git.process import GitProcess

_STOP_S: Final = 1.0


class Processes:
    """See the module. `queue` may wait, each for `queue_timeout_s` seconds."""

    def __init__(self, program: str, at_once: int, queue: int, queue_timeout_s: float) -> None:
        self._program = program
        self._free = at_once
        self._queue = queue
        self._queue_timeout_s = queue_timeout_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running: set[GitProcess] = set()

    @property
    def running(self) -> int:
        """How many there are."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    async def start(self, command: Command) -> GitProcess:
        """A running program, in its turn. Raises GitBusy, GitFailed."""
        await self._turn()
        try:
            process = GitProcess(self._program, command, lambda: self._over(process))
        except BaseException:
            self._give()
            raise
        self._running.add(process)
        return process

    def _over(self, process: GitProcess) -> None:
        self._running.discard(process)
        self._give()

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def _turn(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise GitBusy(f"{self.running} programs run and {self.waiting} requests wait")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await turn
        except TimeoutError:
            self._leave(turn)
            raise GitBusy(f"no turn within {self._queue_timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled():
            self._give()  # it was given in the moment in which nobody wanted it any more

    async def stop(self) -> None:
        """End all, and wait until they have ended."""
        for process in self._running:
            process.terminate()
        await self._wait()
        for process in self._running:
            process.kill()
        await self._wait()

    async def _wait(self) -> None:
        if self._running:
            await asyncio.wait([process.exit for process in self._running], timeout=_STOP_S)
