"""All upload memory of one worker: obeys the policy, moves the bytes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count

from msgspec import Struct

from fastproxy._chunker import Chunker, SlabPool
from fastproxy.config.schema import Memory
from fastproxy.errors import MemoryShort, TooSlow
from fastproxy.memory.account import LINED, QUEUED, READING, Account
from fastproxy.memory.eviction import Eviction
from fastproxy.memory.parties import Needs, Signals, is_rigid
from fastproxy.memory.policy import Marks, Policy
from fastproxy.memory.spill import Spill
from fastproxy.memory.spill_file import SpillFile
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.memory.windows import Windows

ROUND = 0.05  # seconds between two looks at the queue while uploads wait


class ArenaStats(Struct, frozen=True):
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
                blocks=memory.spill_budget // memory.slab,
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
        self._eviction = Eviction(
            self._policy,
            self._pool,
            self._spill,
            self._uploads,
            self._stop_if_short,
            self._loop,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._patience = memory.stall_timeout
        self._called = 0  # uploads that go on with the next turn of the loop
        self._round = 1  # uploads that go on in the next round ...
        self._took = False  # ... and whether any took memory since the last one

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

        Equal parts and an only part must be whole before they leave; others can be cut.
        """
        if not is_rigid(needs):
            return needs.max_part
        slabs = max(self._policy.reserve, self._policy.line.capacity)
        return (slabs if needs.equal_parts else slabs - 1) * self._pool.slab_size

    # --- coming and going

    def open(
        self,
        needs: Needs,
        part_sizes: Callable[[int], int],
        signals: Signals,
        *,
        most: int | None = None,
    ) -> UploadBuffer:
        """The buffer of a new upload; `part_sizes` gives a part's size from its number (from 1).

        `most`: bytes the body has or may have; with it `next_part` may raise MemoryShort or
        TooSlow, without it the caller sees to it that nothing is held for ever. Raises MemoryShort.
        """
        now = self._loop.time()
        account = Account(next(self._ages), now, may_end=most is not None)
        if most is None:
            account.is_endless = needs.max_parts == 1
        elif is_rigid(needs):
            account.claim = self._claim(part_sizes(1), most)
        if not self._policy.may_open(self._pool.free_count, self._spill.is_full):
            raise MemoryShort(f"{self._policy.queued} uploads wait for memory")
        self._policy.open(account)
        chunker = Chunker(self._pool, part_sizes)
        buffer = UploadBuffer(
            self, account, chunker, needs=needs, spill=self._spill, signals=signals
        )
        self._uploads[account] = buffer
        return buffer

    def _claim(self, part: int, most: int) -> int:
        """Slabs to set aside for a part that cannot be cut; 0: the reserve does.

        Who may not fill its part still needs one more to hear that its body ends, or does not.
        """
        size = min(part, most)
        slabs = -(-size // self._pool.slab_size) + (most < part)
        if slabs <= self._policy.reserve:
            return 0
        if slabs > self._policy.line.capacity:
            raise MemoryShort(f"neither memory nor disk holds a part of {size} bytes")
        return slabs

    def ended(self, buffer: UploadBuffer) -> None:
        """It takes no more bytes."""
        self._eviction.ended(buffer)
        self._policy.end(buffer.account)

    def closed(self, buffer: UploadBuffer) -> None:
        """It is gone, and what it held has come back."""
        del self._uploads[buffer.account]
        self._eviction.closed(buffer)
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
            self._eviction.relieve()
        if self._policy.ask(buffer.account, self._pool.free_count):
            return True
        if buffer.account.standing is QUEUED:
            if not self._spill.is_busy and buffer.can_cut:
                buffer.cut()  # neither memory nor disk has room for the rest of its part
            self._resume(limit=1)
        elif buffer.account.standing is LINED:
            self._resume(limit=0)
        self._watch()
        return False

    def ahead(self, buffer: UploadBuffer) -> int:
        """Slabs it may take before they are due."""
        return self._policy.ahead(buffer.account, self._pool.free_count)

    def took(self, buffer: UploadBuffer, slabs: int) -> None:
        """It took slabs."""
        self._took = True
        self._policy.took(buffer.account, slabs)

    def grew(self, buffer: UploadBuffer) -> None:
        """Its tail has more bytes."""
        self._moved(buffer.account)

    def _moved(self, account: Account) -> None:
        account.grew_at = self._loop.time()
        self._eviction.forget(account)
        self._policy.grew(account)

    # --- memory runs short

    def _stop_if_short(self, buffer: UploadBuffer) -> None:
        """An upload that lost its tail needs a slab for its next read: is there one?"""
        account = buffer.account
        if account.standing is READING and self._spare(account) <= 0:
            self._policy.pause(account)
            self._watch()
            buffer.signals.on_pause()

    def _spare(self, account: Account | None = None) -> int:
        return self._policy.spare(account, self._pool.free_count)

    # --- memory comes back

    def completed(self, buffer: UploadBuffer, slabs: int) -> None:
        """A part is complete: its upload owns the reserve no longer."""
        self._policy.completed(buffer.account, slabs)

    def settled(self, buffer: UploadBuffer) -> None:
        """A spill of its unfinished part ended, or empty slabs of it were given back."""
        self._policy.settled(buffer.account, buffer.held, buffer.disk)

    def gave(self, buffer: UploadBuffer, slabs: int) -> None:
        """Complete parts gave back memory or disk."""
        self._policy.landed(buffer.account, slabs)
        self._changed()

    def _changed(self) -> None:
        """Memory or disk may have come back."""
        if self._policy.paused:
            self._help_head()
            self._eviction.relieve()
            self._resume(limit=max(1, self._spare() - self._called))

    # --- who waits goes on

    def _resume(self, limit: int) -> None:
        self._help_head()
        is_stuck = not self._spill.is_busy
        if is_stuck:
            self._cut_owner()
        for account in self._policy.resumable(self._pool.free_count, limit, is_stuck):
            self._moved(account)  # its client was not to blame for the time it waited
            self._called += 1
            self._loop.call_soon(self._go_on, self._uploads[account])

    def _go_on(self, buffer: UploadBuffer) -> None:
        self._called -= 1
        buffer.resumed()

    def _cut_owner(self) -> None:
        """The owner waits for nothing but its own part: it must fly as it is."""
        owner = self._policy.owner
        if owner is None or owner.standing is not QUEUED or self._spare(owner) > 0:
            return
        if self._uploads[owner].can_cut:
            self._uploads[owner].cut()

    def _help_head(self) -> None:
        """The head of the line waits for memory: its tail goes to disk, before any other.

        A disk that turned out smaller than configured does not keep what was promised to it.
        """
        head = self._policy.line.head
        if head is None or head.standing is not LINED or not self._policy.line.is_on_disk:
            return
        buffer = self._uploads[head]
        if self._spare(head) > 0 or buffer.is_being_written:
            return
        if buffer.fits_disk():
            self._eviction.spill(buffer)
        elif self._spill.is_short and not self._spill.is_busy:
            buffer.fail(MemoryShort("the disk is smaller than its budget"))

    def _end_stalled(self) -> None:
        """Who holds what others wait for, cannot move and sends nothing: the longest so."""
        policy, owner = self._policy, self._policy.owner
        late = self._loop.time() - self._patience
        if owner and _is_stalled(owner, late) and self._eviction.may_spill(self._uploads[owner]):
            policy.disown()  # others may have the reserve, and the disk its tail
        holders = (policy.owner, policy.line.head, *self._eviction.stranded)
        stalled = [account for account in holders if account and _is_stalled(account, late)]
        if stalled and policy.queued:
            longest = min(stalled, key=lambda account: account.grew_at)
            detail = f"nothing came for {self._patience:g} s while others wait for memory"
            self._uploads[longest].fail(TooSlow(detail))

    def _watch(self) -> None:
        """Look again while uploads wait.

        A view that dies gives its slab back and tells nobody; who went on may have had nothing to
        read. So more go on from round to round, but only while nobody takes anything: of 8,750
        uploads all were woken for a few slabs, which made 27 ms of CPU out of 5 for each.
        """
        if self._timer is None and self._policy.paused:
            self._timer = self._loop.call_later(ROUND, self._look)

    def _look(self) -> None:
        self._timer = None
        self._policy.pass_on()
        self._end_stalled()
        self._eviction.relieve()
        self._resume(limit=max(self._round, self._spare()))
        self._round = 1 if self._took or not self._policy.queued else self._round * 2
        self._took = False
        self._watch()


def _is_stalled(account: Account, late: float) -> bool:
    """Whether it holds something, may send, and has sent nothing since `late`, in loop time."""
    return (
        account.standing is READING
        and account.may_end
        and account.held + account.disk > 0
        and account.grew_at <= late
    )
