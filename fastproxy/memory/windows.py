"""The windows through which spilled parts are read back: sending one never needs a slab."""

import asyncio
import mmap

WINDOW = 128 << 10
MOST = 64  # the default number of connections to a store
SHARE = 32  # of the budget's bytes, one goes to windows


class Windows:
    """A few buffers of one size, set aside from the budget; who finds none free waits in line."""

    def __init__(self, budget: int, slab: int) -> None:
        """`budget` in bytes. At least one window, and none smaller than a slab (bytes)."""
        self.size = max(slab, min(WINDOW, budget // SHARE))
        count = max(1, min(MOST, budget // SHARE // self.size))
        self.bytes = count * self.size
        memory = memoryview(mmap.mmap(-1, self.bytes))  # not committed before it is used
        self._free = [memory[at : at + self.size] for at in range(0, self.bytes, self.size)]
        self._turn = asyncio.Semaphore(count)

    async def take(self) -> memoryview:
        """A window; give it back."""
        await self._turn.acquire()
        return self._free.pop()

    def give(self, window: memoryview) -> None:
        """The window is free again. Nobody may still write to it or read it."""
        self._free.append(window)
        self._turn.release()
