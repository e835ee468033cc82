"""What both directions of a shield hold bytes with: memory that is let go in order, and a gate."""

import asyncio
from typing import Final

from fastproxy.memory.arena import Arena
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import StoreNeeds

_ENDLESS: Final = 1 << 60
# One part, which the memory's policy may spill but not cut: a request leaves when all of it is in,
# an answer is cut by us when the client takes bytes again.
_WHOLE: Final = StoreNeeds(min_part=1, part_size=_ENDLESS, max_part=_ENDLESS, max_parts=1)


def open_whole(arena: Arena, callbacks: Callbacks) -> UploadBuffer:
    """A buffer that nobody cuts but who opened it. Raises MemoryShort."""
    return arena.open(_WHOLE, lambda number: _ENDLESS, callbacks)


class Gate:
    """Open or shut; waiting for it costs a future only when it is shut."""

    def __init__(self) -> None:
        self.is_open = True
        self._waiter: asyncio.Future[None] | None = None

    def shut(self) -> None:
        """From now on, wait."""
        self.is_open = False

    def open(self) -> None:
        """Go on."""
        self.is_open = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    async def passed(self) -> None:
        """Wait until it is open."""
        while not self.is_open:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
