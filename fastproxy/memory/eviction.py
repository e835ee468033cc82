"""Parts leave memory when it runs short: cut for their store, or spilled to disk.

First those that are unfinished; then bodies that are whole and wait for their store. While it is
slow, these would take all memory, and nobody else's bytes would be read: 12,000 uploads that waited
so left 1.6 GiB with the kernel, whose connections to the store then became slow as well.
"""

import asyncio
from collections.abc import Callable, Mapping

from fastproxy._chunker import SlabPool
from fastproxy.memory.account import Account
from fastproxy.memory.policy import Policy
from fastproxy.memory.spill import BATCH, Spill, Write
from fastproxy.memory.upload_buffer import UploadBuffer


class Eviction:
    """Of the tails of all `uploads`, in the order of the policy, and of whole bodies.

    `stranded`: those that neither the store takes as they are nor the disk, until they grow.
    """

    def __init__(
        self,
        policy: Policy,
        pool: SlabPool,
        spill: Spill,
        uploads: Mapping[Account, UploadBuffer],
        on_spilled: Callable[[UploadBuffer], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`on_spilled`: an upload has lost its tail to the disk."""
        self._policy = policy
        self._pool = pool
        self._spill = spill
        self._uploads = uploads
        self._on_spilled = on_spilled
        self._loop = loop
        self._goes_on = False  # with the next turn of the loop
        self._whole: dict[UploadBuffer, None] = {}  # the oldest first
        self.stranded: dict[Account, None] = {}

    def forget(self, account: Account) -> None:
        """It has grown, or takes no more bytes. Idempotent."""
        self.stranded.pop(account, None)

    def ended(self, buffer: UploadBuffer) -> None:
        """It takes no more bytes."""
        self.forget(buffer.account)
        if buffer.parts_waiting:
            self._whole[buffer] = None

    def closed(self, buffer: UploadBuffer) -> None:
        """It is gone. Idempotent."""
        self._whole.pop(buffer, None)

    def relieve(self) -> None:
        """Under low water send tails away, until high water will be reached.

        So many in a turn of the loop: a quarter of 128 MiB at once took 19 ms, a batch takes 4.
        """
        if self._goes_on or self._expected >= self._policy.low:
            return
        if not self._spill.is_full:
            self._reconsider()
        self._send_batch()

    @property
    def _expected(self) -> int:
        """Free slabs when all is written that is being written."""
        return self._pool.free_count + self._spill.writing

    def _send_batch(self, cut: int = 0) -> None:
        """`cut`: slabs of parts that were cut in batches before; they come back from the store."""
        self._goes_on = False
        policy, spill, expected = self._policy, self._spill, self._expected + cut
        writes: list[Write] = []
        for _ in range(BATCH):
            if expected >= policy.high or (spill.is_full and policy.flying >= policy.share):
                break
            account = policy.victim()
            if account is not None:
                expected += self._send_away(self._uploads[account], writes)
            elif self._whole and not spill.is_full:
                expected += self._spill_whole(writes)
            else:
                break
        else:
            self._goes_on = True
        spill.submit(writes)
        if self._goes_on:
            self._loop.call_soon(self._send_batch, expected - self._expected)

    def spill(self, buffer: UploadBuffer) -> None:
        """Send this tail to the disk. Only if it `fits_disk()`."""
        writes: list[Write] = []
        self._begin_spill(buffer, writes)
        self._spill.submit(writes)

    def _reconsider(self) -> None:
        """There is disk again: some of those for whom there was none."""
        found = [account for account in self.stranded if not account.claim]
        for account in found[:BATCH]:
            del self.stranded[account]
            self._policy.grew(account)

    def _send_away(self, buffer: UploadBuffer, writes: list[Write]) -> int:
        """Cut what the store takes as it is, spill the rest; the slabs that will come back.

        Where parts are scarce the disk comes first, as long as there is some.
        """
        slabs = buffer.held
        if buffer.is_being_written:  # its new tail has its turn when the write has ended
            return 0
        may_cut = buffer.can_cut and (buffer.can_spare or self._spill.is_full)
        if may_cut and self._policy.flying < self._policy.share:
            buffer.cut()
            return slabs
        if not self.may_spill(buffer):
            self._strand(buffer)
            return 0
        self._begin_spill(buffer, writes)
        return slabs

    def _spill_whole(self, writes: list[Write]) -> int:
        """The body that became whole last, which waits the longest for its store; its slabs."""
        buffer, _ = self._whole.popitem()
        begun = buffer.spill_waiting()
        writes += begun
        return sum(write.slabs for write in begun)

    def may_spill(self, buffer: UploadBuffer) -> bool:
        """Whether its tail may go to the disk, and has room there."""
        account, line = buffer.account, self._policy.line
        if account.claim and not line.may_spill(account, buffer.disk_missing):
            return False
        return not self._spill.is_full and buffer.fits_disk()

    def _strand(self, buffer: UploadBuffer) -> None:
        if buffer.can_cut:  # as soon as less is flying
            self._policy.grew(buffer.account)
        else:
            self.stranded[buffer.account] = None

    def _begin_spill(self, buffer: UploadBuffer, writes: list[Write]) -> None:
        write = buffer.spill()
        if write is None:  # it had taken a slab and no byte came: the slab is back
            self._policy.settled(buffer.account, buffer.held, buffer.disk)
            return
        self._policy.spilling(buffer.account, buffer.disk)
        writes.append(write)
        self._on_spilled(buffer)
