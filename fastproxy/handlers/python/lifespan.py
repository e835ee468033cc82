"""ASGI's lifespan protocol: an application's start-up and shutdown (spec version 2.0)."""

import asyncio
import logging
from enum import Enum
from typing import Any, Final

from fastproxy.handlers.python.asgi_types import ASGI, Application, Message

log = logging.getLogger("fastproxy")

_SHUTDOWN_S: Final = 10.0


class StartupFailed(RuntimeError):
    """The application says that it cannot start."""


class Answer(Enum):
    """What an application said to the start-up or shutdown."""

    COMPLETE = "complete"
    FAILED = "failed"
    NONE = "none"  # its lifespan ended without an answer: it does not speak the protocol


class Lifespan:
    """One application's life in this worker. `state` is what it shares with its requests."""

    def __init__(self, application: Application, name: str) -> None:
        self._application = application
        self._name = name
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Raises StartupFailed. An application that does not know the protocol is fine."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        answer, text = await self._ask("startup")
        if answer is Answer.FAILED:
            await self._end()
            raise StartupFailed(f"{self._name}: {text or 'start-up failed'}")

    async def stop(self) -> None:
        """Tell the application that it ends and wait for it, at most 10 s."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(_SHUTDOWN_S):
                answer, text = await self._ask("shutdown")
            if answer is Answer.FAILED:
                log.error("shutdown of %s failed: %s", self._name, text)
        except TimeoutError:
            log.error("%s does not answer to its shutdown", self._name)
        await self._end()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": dict(ASGI), "state": self.state}
        try:
            await self._application(scope, self._events.get, self._answers.put)
        except Exception as error:
            # Most applications that know only "http" refuse the scope with an exception.
            log.info("%s has no lifespan: %s: %s", self._name, type(error).__name__, error)

    async def _ask(self, step: str) -> tuple[Answer, str]:
        task = self._task
        if task is None or task.done():
            return Answer.NONE, ""
        self._events.put_nowait({"type": f"lifespan.{step}"})
        reply = asyncio.get_running_loop().create_task(self._answers.get())
        try:
            await asyncio.wait((task, reply), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reply.cancel()
        if not reply.done() or reply.cancelled():
            return Answer.NONE, ""
        message = reply.result()
        outcome = message["type"].removeprefix(f"lifespan.{step}.")
        return Answer(outcome), str(message.get("message", ""))

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            _, pending = await asyncio.wait((task,), timeout=1.0)
            for late in pending:
                late.cancel()
                await asyncio.wait((late,), timeout=1.0)
