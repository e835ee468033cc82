"""What a program gives out, once it is known that it gives anything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastproxy.errors import GitFailed, NothingToSend
from fastproxy.git.process import GitProcess

# What git says, in its own language (LC_ALL=C), of something that is not there.
_ABSENT: Final = (
    "not a valid object",
    "not a tree object",
    "did not match any files",
    "Invalid revision range",
    "bad object",
    "bad revision",
    "unknown revision",
)


@asynccontextmanager
async def output(process: GitProcess, harmless: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
    """What a program says, of which the first has come, so that it can be judged.

    `harmless`: an exit status that is as good as 0. Raises NothingToSend and GitFailed, now or when
    it ends otherwise than well.
    """
    process.inlet.close()
    first = await process.outlet.read()
    if not first:
        await _judge(process, harmless)

    async def pieces() -> AsyncIterator[bytes]:
        piece = first
        while piece:
            yield piece
            piece = await process.outlet.read()
        await _judge(process, harmless)

    yield pieces()


async def _judge(process: GitProcess, harmless: int) -> None:
    status, said = await process.ended(), process.complaints.text
    if status in (0, harmless):
        return
    if any(words in said for words in _ABSENT):
        raise NothingToSend(said)
    raise GitFailed(f"exit {status}: {said}")
