"""All upload memory of one worker: obeys the policy, moves the bytes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import count

from fastproxy._chunker import Chunker, SlabPool
from fastproxy.config.schema import Memory
from fastproxy.errors import MemoryShort
from fastproxy.memory.account import Account, Standing
from fastproxy.memory.policy import Marks, Policy
from fastproxy.memory.spill import Spill, Write
from fastproxy.memory.spill_file import SpillFile
from fastproxy.memory.upload_buffer import Needs, Signals, UploadBuffer
from fastproxy.memory.windows import Windows

ROUND = 0.05  # seconds between two looks at the queue while uploads wait


@dataclass(frozen=True, slots=True)
class ArenaStats:
    """For metrics. Slabs are counts; the rest bytes, uploads and seconds."""

    slab_size: int
    slabs_free: int
    slabs_used: int
    slabs_peak: int
    spilled_now: int
    spilled_total: int
    uploads: int
    paused: int
    oldest_paused: float  # since that upload was opened
    flying: int


class Arena:
    """The memory of one worker's uploads; single-threaded, on the event loop.

    `reserve_bytes`: the smallest part a store takes, or, if its parts must be equal, the part size.
    Raises ValueError if the budget does not hold the reserve, the windows and one slab more.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        reserve_bytes: int = 5 << 20,
        loop: asyncio.AbstractEventLoop | None = None,
        executor: Executor | None = None,
        spill_file: SpillFile | None = None,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        windows = Windows(memory.budget, memory.slab)
        slabs = (memory.budget - windows.bytes) // memory.slab
        reserve = max(1, -(-reserve_bytes // memory.slab))
        if slabs <= reserve:
            raise ValueError(
                f"memory.budget: {memory.budget} bytes do not hold the reserve of one part "
                f"({reserve_bytes}), the windows ({windows.bytes}) and a slab ({memory.slab})"
            )
        self._pool = SlabPool(slabs * memory.slab, memory.slab)
        self._policy = Policy(
            Marks(
                slabs=slabs,
                reserve=reserve,
                low_water=memory.low_water,
                high_water=memory.high_water,
                flying_share=memory.flying_share,
                queue=memory.queue,
            )
        )
        self._spill = Spill(
            memory,
            windows=windows,
            loop=self._loop,
            on_change=self._changed,
            file=spill_file,
            executor=executor,
        )
        self._ages = count()
        self._uploads: dict[Account, UploadBuffer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._round = 1  # uploads that go on in the next round

    @property
    def stats(self) -> ArenaStats:
        """A snapshot."""
        pool, policy = self._pool, self._policy
        oldest = policy.oldest_paused()
        return ArenaStats(
            slab_size=pool.slab_size,
            slabs_free=pool.free_count,
            slabs_used=pool.used_count,
            slabs_peak=pool.peak_count,
            spilled_now=self._spill.held,
            spilled_total=self._spill.total,
            uploads=len(self._uploads),
            paused=policy.paused,
            oldest_paused=0.0 if oldest is None else self._loop.time() - oldest.opened_at,
            flying=policy.flying * pool.slab_size,
        )

    def largest_part(self, needs: Needs) -> int:
        """Bytes that one part may surely have, if the store leaves no other way than to hold it.

        Equal parts must complete from the reserve, an only part from the disk; others can be cut.
        """
        memory = self._pool.slab_count * self._pool.slab_size
        if needs.equal_parts:
            return memory
        return max(memory, self._spill.budget) if needs.max_parts == 1 else needs.max_part

    # --- coming and going

    def open(
        self,
        needs: Needs,
        part_sizes: Callable[[int], int],
        on_pause: Callable[[], None],
        on_resume: Callable[[], None],
    ) -> UploadBuffer:
        """The buffer of a new upload; `part_sizes` gives a part's size from its number (from 1).

        `on_pause` is called at once when a reading upload must stop, `on_resume` from the loop when
        it may go on. Raises MemoryShort.
        """
        least = part_sizes(1) if needs.equal_parts else needs.min_part
        account = Account(
            age=next(self._ages),
            opened_at=self._loop.time(),
            needs=-(-least // self._pool.slab_size),
        )
        if not self._policy.may_open(account.needs, self._pool.free_count, self._spill.is_full):
            raise MemoryShort(
                f"{self._policy.queued} uploads wait for memory; this one needs {least} bytes"
            )
        self._policy.open(account)
        chunker = Chunker(self._pool, part_sizes)
        signals = Signals(on_pause, on_resume)
        buffer = UploadBuffer(
            self, account, chunker, needs=needs, spill=self._spill, signals=signals
        )
        self._uploads[account] = buffer
        return buffer

    def ended(self, buffer: UploadBuffer) -> None:
        """It takes no more bytes."""
        self._policy.end(buffer.account)

    def closed(self, buffer: UploadBuffer) -> None:
        """It is gone, and what it held has come back."""
        del self._uploads[buffer.account]
        self._changed()

    async def close(self) -> None:
        """Close all uploads, wait for the threads, give up the disk. Idempotent."""
        for buffer in list(self._uploads.values()):
            buffer.close()
        await self._spill.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- an upload asks and grows

    def ask(self, buffer: UploadBuffer) -> bool:
        """May it take one more slab? If not, it is in a queue now.

        Only here tails are sent away, also its own, which is full: what `room()` promised stays.
        """
        if self._pool.free_count < self._policy.low:
            self._relieve()
        if self._policy.ask(buffer.account, self._pool.free_count):
            return True
        if buffer.account.standing is Standing.QUEUED:
            if not self._spill.is_busy and buffer.can_cut:
                buffer.cut()  # neither memory nor disk has room for the rest of its part
            self._resume(limit=1)
        self._watch()
        return False

    def took(self, buffer: UploadBuffer) -> None:
        """It took a slab."""
        self._policy.took(buffer.account)

    def grew(self, buffer: UploadBuffer) -> None:
        """Its tail has more bytes."""
        self._policy.grew(buffer.account)

    # --- tails leave memory

    def _relieve(self) -> None:
        """Under low water send tails away, until high water will be reached."""
        policy, spill = self._policy, self._spill
        expected = self._pool.free_count + spill.writing
        if expected >= policy.low:
            return
        writes: list[Write] = []
        while expected < policy.high and not spill.is_full:
            account = policy.victim()
            if account is None:
                break
            expected += self._send_away(self._uploads[account], writes)
        spill.submit(writes)

    def _send_away(self, buffer: UploadBuffer, writes: list[Write]) -> int:
        """Cut what the store takes as it is, spill the rest; the slabs that will come back.

        Where parts are scarce the disk comes first; without room there, `ask` cuts all the same.
        """
        account, slabs = buffer.account, buffer.held
        if buffer.is_being_written:  # its new tail has its turn when the write has ended
            return 0
        may_cut = buffer.can_cut and buffer.can_spare
        if may_cut and self._policy.flying < self._policy.share:
            buffer.cut()
            return slabs
        if not buffer.fits_disk():
            self._policy.grew(account)
            return 0
        write = buffer.spill()
        if write is None:  # it had taken a slab and no byte came: the slab is back
            self._policy.settled(account, buffer.held)
            return slabs
        writes.append(write)
        self._stop_if_short(buffer)
        return slabs

    def _stop_if_short(self, buffer: UploadBuffer) -> None:
        """An upload that lost its tail needs a slab for its next read: is there one?"""
        account = buffer.account
        if account.standing is Standing.READING and not self._has_spare(account):
            self._policy.pause(account)
            self._watch()
            buffer.signals.on_pause()

    def _has_spare(self, account: Account) -> bool:
        return self._policy.spare(account, self._pool.free_count) > 0

    # --- memory comes back

    def completed(self, buffer: UploadBuffer, slabs: int) -> None:
        """A part is complete: its upload owns the reserve no longer."""
        self._policy.completed(buffer.account, slabs)

    def settled(self, buffer: UploadBuffer) -> None:
        """A spill of its unfinished part ended."""
        self._policy.settled(buffer.account, buffer.held)

    def gave(self, buffer: UploadBuffer, slabs: int) -> None:
        """Complete parts gave back memory or disk."""
        self._policy.landed(buffer.account, slabs)
        self._changed()

    def _changed(self) -> None:
        """Memory or disk may have come back."""
        if self._policy.paused:
            self._relieve()
            self._resume(limit=max(1, self._pool.free_count))

    # --- who waits goes on

    def _resume(self, limit: int) -> None:
        is_stuck = not self._spill.is_busy
        if is_stuck:
            self._cut_owner()
        for account in self._policy.resumable(self._pool.free_count, limit, is_stuck):
            self._loop.call_soon(self._uploads[account].resumed)

    def _cut_owner(self) -> None:
        """The owner waits for nothing but its own part: it must fly as it is."""
        owner = self._policy.owner
        if owner is None or owner.standing is not Standing.QUEUED or self._has_spare(owner):
            return
        if self._uploads[owner].can_cut:
            self._uploads[owner].cut()

    def _watch(self) -> None:
        """Look again while uploads wait.

        A view that dies gives its slab back and tells nobody; who went on may have had nothing to
        read and left its slab free.
        """
        if self._timer is None and self._policy.paused:
            self._timer = self._loop.call_later(ROUND, self._look)

    def _look(self) -> None:
        self._timer = None
        self._policy.pass_on()
        self._relieve()
        self._resume(limit=max(self._round, self._pool.free_count))
        self._round = self._round * 2 if self._policy.queued else 1
        self._watch()
