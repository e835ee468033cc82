"""The disk of the memory room: budget, spill file and the threads that write and read it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from msgspec import Struct

from fastproxy.config.schema import Memory
from fastproxy.errors import OwnFault
from fastproxy.loop.batches import Turns
from fastproxy.memory.blocks import Blocks, Extent, Holding
from fastproxy.memory.spill_file import SpillFile
from fastproxy.memory.windows import Windows

THREADS = 4
BATCH = 64  # tails written by one job of a thread
TRIM = 64 << 20  # bytes: less free disk than this is kept for the next spill
AT_ONCE = 8  # windows read, hashed and sent in an iteration of the loop: some 3 ms
RETRY = 60.0  # seconds after a write failed until the budget is what is configured again

log = logging.getLogger(__name__)


class Write(Struct, eq=False):
    """A tail on its way to disk. `views` keep its slabs until `landed` is called."""

    extents: list[Extent]
    views: Sequence[memoryview]
    slabs: int
    landed: Callable[[bool], None]
    error: OSError | None = None


class Spill:
    """Event-loop side of the spill file. `on_change`: room or memory may have come back."""

    def __init__(
        self,
        memory: Memory,
        *,
        windows: Windows,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        file: SpillFile | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.slab = memory.slab  # bytes, also of a block of the file
        self._loop = loop
        self._windows = windows
        self._turns = Turns(loop, AT_ONCE)
        self._on_change = on_change
        self._executor = executor or ThreadPoolExecutor(THREADS, "fastproxy-spill")
        self._file = file or SpillFile(memory.spill_dir)
        self._budget = memory.spill_budget // memory.slab
        self._blocks = Blocks(self._budget, memory.slab)
        self._trim_at = max(1, min(TRIM, memory.spill_budget // 4) // memory.slab)
        self._jobs: set[asyncio.Future[None]] = set()
        self._restore: asyncio.TimerHandle | None = None
        self._did_not_fit = False
        self.writing = 0  # slabs
        self.total = 0  # bytes ever spilled

    @property
    def budget(self) -> int:
        """Bytes of disk that may be in use."""
        return self._budget * self.slab

    @property
    def is_full(self) -> bool:
        """Nothing fits, or the last tail did not, and no disk was freed since."""
        return self._did_not_fit or self._blocks.available == 0

    @property
    def is_short(self) -> bool:
        """The disk was smaller than its budget, not long ago."""
        return self._blocks.limit < self._budget

    @property
    def is_busy(self) -> bool:
        """Memory or disk is on its way back."""
        return bool(self._jobs)

    @property
    def held(self) -> int:
        """Bytes of disk in use."""
        return self._blocks.used * self._blocks.size

    # --- out

    def fits(self, holding: Holding, size: int) -> bool:
        """Has the budget room for `size` more bytes of a part?"""
        fits = holding.missing(size, self.slab) <= self._blocks.available
        self._did_not_fit = not fits
        return fits

    def plan(self, holding: Holding, size: int) -> list[Extent] | None:
        """Disk for `size` more bytes of a part, or None."""
        return holding.extend(size, self._blocks)

    def submit(self, writes: list[Write]) -> None:
        """Write in threads; each write is told whether it landed."""
        for start in range(0, len(writes), BATCH):
            batch = writes[start : start + BATCH]
            self.writing += sum(write.slabs for write in batch)
            self._run(partial(self._write, batch), partial(self._wrote, batch))

    def _write(self, batch: list[Write]) -> None:
        for write in batch:
            try:
                self._file.write(write.extents, write.views)
            except OSError as error:
                write.error = error.with_traceback(None)  # its frames hold the views

    def _wrote(self, batch: list[Write]) -> None:
        for write in batch:
            self.writing -= write.slabs
            write.views = ()
            if write.error is None:
                self.total += sum(extent.size for extent in write.extents)
            write.landed(write.error is None)
        errors = [write.error for write in batch if write.error is not None]
        if errors:
            self._shrink(errors[0])

    def _shrink(self, error: OSError) -> None:
        """The disk is smaller than its budget: what is there now is the budget for a while."""
        self._blocks.limit = min(self._blocks.limit, self._blocks.used)
        log.warning("spill file: %s; the disk budget is %d bytes for now", error, self.held)
        if self._restore is None:
            self._restore = self._loop.call_later(RETRY, self._restored)

    def _restored(self) -> None:
        self._restore = None
        self._blocks.limit = self._budget
        self._did_not_fit = False
        self._on_change()

    # --- back

    def undo(self, holding: Holding, used: int) -> None:
        """Nothing was written to the holding after its first `used` bytes."""
        holding.shrink(used, self._blocks)

    def give(self, holding: Holding) -> None:
        """The part's disk is free; once enough is, the file system gets it back."""
        if not holding.blocks:
            return
        holding.shrink(0, self._blocks)
        self._did_not_fit = False
        if self._blocks.dirty >= self._trim_at and self._blocks.dirty >= self._blocks.used:
            extents = self._blocks.begin_trim()
            self._run(lambda: self._trim(extents), lambda: self._blocks.end_trim(extents))

    def _trim(self, extents: list[Extent]) -> None:
        try:
            self._file.trim(extents)
        except OSError as error:
            log.warning("spill file: disk cannot be given back: %s", error)

    async def read(self, extents: Sequence[Extent]) -> AsyncGenerator[memoryview, None]:
        """The bytes in order, a window at a time. Raises OwnFault if the disk fails.

        What the system still has in memory is read at once, for to ask a thread and to hear of it
        takes longer: 13 % of the CPU of a storm. But only so many windows in an iteration of the
        loop: with one for each part in flight, other requests waited twice as long.
        """
        window = await self._windows.take()
        reading: asyncio.Future[None] | None = None
        try:
            for batch in windowfuls(extents, self._windows.size):
                await self._turns.take()
                if not self._file.read_now(batch, window):
                    reading = self._loop.run_in_executor(
                        self._executor, self._file.read, batch, window
                    )
                    await asyncio.shield(reading)
                yield window[: sum(extent.size for extent in batch)]
        except OSError as error:
            raise OwnFault(f"spill file: {error}") from error
        finally:
            if reading is None or reading.done():
                self._windows.give(window)
            else:  # cancelled, and the thread still fills the window
                reading.add_done_callback(lambda done: self._give_late(done, window))

    def _give_late(self, reading: asyncio.Future[None], window: memoryview) -> None:
        reading.exception()  # nobody waits for it any more
        self._windows.give(window)

    # --- threads

    def _run(self, work: Callable[[], None], after: Callable[[], None]) -> None:
        job = self._loop.run_in_executor(self._executor, work)
        self._jobs.add(job)
        job.add_done_callback(lambda job: self._ran(job, after))

    def _ran(self, job: asyncio.Future[None], after: Callable[[], None]) -> None:
        self._jobs.discard(job)
        after()
        self._on_change()

    async def close(self) -> None:
        """Wait for the threads; the file is gone. Idempotent."""
        while self._jobs:
            await asyncio.wait(set(self._jobs))
        if self._restore is not None:
            self._restore.cancel()
        self._executor.shutdown(wait=False)
        self._file.close()


def windowfuls(extents: Sequence[Extent], size: int) -> Iterator[list[Extent]]:
    """The extents in runs of at most `size` bytes."""
    batch: list[Extent] = []
    room = size
    for extent in extents:
        offset, left = extent.offset, extent.size
        while left:
            step = min(left, room)
            batch.append(Extent(offset, step))
            offset, left, room = offset + step, left - step, room - step
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch
