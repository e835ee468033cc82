"""A few processes that scale images, for one worker: bounded, timed, and replaced when they die."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
from msgspec import Struct

from fastproxy.images.child import MAX_LINE, Done, Order

log = logging.getLogger("fastproxy")

Read = Callable[[], Awaitable[bytes]]

_REPLACED_AFTER: Final = 200  # images: what a decoder leaks does not add up
_MOST_MADE: Final = 64 << 20  # bytes: a process that an image has taken over may announce any


class CannotScale(Exception):
    """This image is not scaled; the text says why. The original can still be sent."""


class Bounds(Struct, frozen=True):
    """What scaling may take. Bytes, pixels, seconds."""

    processes: int = 2  # at once
    queue: int = 20  # more wait in vain
    memory: int = 512 << 20  # of one process: address space
    max_source: int = 10 << 20
    max_pixels: int = 40_000_000
    timeout_s: float = 10.0  # with waiting


class Scalers:
    """Makes images smaller. Processes start when they are needed and stay for the next."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._turns = asyncio.Semaphore(bounds.processes)
        self._waiting = 0
        self._idle: list[_Child] = []

    @property
    def max_source(self) -> int:
        """The largest image that is scaled, in bytes."""
        return self._bounds.max_source

    @property
    def running(self) -> int:
        """Processes that wait for work."""
        return len(self._idle)

    async def scale(self, read: Read, content_type: str, width: int) -> bytes:
        """What `read` gives, no wider than `width` pixels; it is read when it has its turn.

        Those that wait hold nothing. Raises CannotScale, and what `read` raises.
        """
        bounds = self._bounds
        try:
            async with asyncio.timeout(bounds.timeout_s), self._turn():
                data = await read()
                if len(data) > bounds.max_source:
                    raise CannotScale(f"{len(data)} bytes")
                order = Order(len(data), content_type, width, bounds.max_pixels)
                async with self._child() as child:
                    return await child.obey(order, data)
        except TimeoutError:
            raise CannotScale(f"not within {bounds.timeout_s:g} s") from None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked() and self._waiting >= self._bounds.queue:
            raise CannotScale("too many images at once")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    @asynccontextmanager
    async def _child(self) -> AsyncIterator["_Child"]:
        child = self._idle.pop() if self._idle else await _Child.start(self._bounds.memory)
        try:
            yield child
        finally:
            if child.is_ready and child.images < _REPLACED_AFTER:
                self._idle.append(child)
            else:
                await asyncio.shield(child.kill())

    async def close(self) -> None:
        """End those that are idle; the others end with their orders."""
        while self._idle:
            await self._idle.pop().kill()


class _Child:
    """One process. Not ready once an order was not answered to its end."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.is_ready = True
        self.images = 0

    @classmethod
    async def start(cls, memory: int) -> "_Child":
        """Raises CannotScale."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastproxy.images.child", str(memory)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(sys.path)},  # nothing secret of ours
                start_new_session=True,  # Ctrl-C is the worker's
            )
        except OSError as error:
            log.warning("no process to scale images: %s", error)
            raise CannotScale("no process for it") from None
        return cls(process)

    async def obey(self, order: Order, data: bytes) -> bytes:
        """The scaled image. Raises CannotScale."""
        self.is_ready = False
        self.images += 1
        try:
            done, made = await self._dialogue(order, data)
        except (OSError, asyncio.IncompleteReadError, ValueError, msgspec.MsgspecError):
            log.warning("a process that scales images died of one")
            raise CannotScale("the process died of it") from None
        self.is_ready = True
        if done.refused:
            raise CannotScale(done.refused)
        return made

    async def _dialogue(self, order: Order, data: bytes) -> tuple[Done, bytes]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101, PT018 - pipes
        stdin.write(msgspec.json.encode(order) + b"\n")
        stdin.write(data)
        await stdin.drain()
        line = await stdout.readline()
        if not line or len(line) > MAX_LINE:
            raise ValueError
        done = msgspec.json.decode(line, type=Done)
        if not 0 <= done.length <= _MOST_MADE:
            raise ValueError
        return done, await stdout.readexactly(done.length)

    async def kill(self) -> None:
        """End it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
