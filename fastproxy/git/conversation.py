"""A question into a program and its answer out of it, both at the pace of the slower side."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from fastproxy.git.held import Held
from fastproxy.git.process import GitProcess


async def answers(
    process: GitProcess, question: AsyncIterator[bytes], held: Held
) -> AsyncGenerator[bytes, None]:
    """What the program answers; the first of it when the whole question was read.

    Raises what reading the question raises, once the program has ended of it.
    """
    telling = asyncio.get_running_loop().create_task(_tell(process, question))
    telling.add_done_callback(_look_at)
    try:
        while not telling.done() and (data := await process.outlet.read()):
            await held.put(data)
        await telling
        async for piece in held.drain():
            yield piece
        while data := await process.outlet.read():
            yield data
    finally:
        telling.cancel()
        held.close()


async def _tell(process: GitProcess, question: AsyncIterator[bytes]) -> None:
    """A program that wants no more has judged; what is left of the question is dropped, for its
    client looks for the answer only afterwards."""
    try:
        async for piece in question:
            await process.inlet.write(piece)
    finally:
        process.inlet.close()  # which ends it, also when the question is not complete


def _look_at(task: asyncio.Task[None]) -> None:
    """Its failure may be nobody's concern any more."""
    if not task.cancelled():
        task.exception()
