"""Drives the real Arena with clients, stores and a disk made up by a scenario, in made-up time.

Nothing here repeats the policy: clients feed, stores fetch, and the invariants are checked at every
step, so code and proof cannot diverge.
"""

import asyncio
import errno
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import cycle

from fastproxy.config.schema import Duration, Memory, Size
from fastproxy.errors import BodyTooLarge, MemoryShort, OwnFault, TooSlow
from fastproxy.memory.arena import Arena
from fastproxy.memory.blocks import Extent
from fastproxy.memory.buffered_part import BufferedPart
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.spill_file import SpillFile
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import StoreNeeds
from tests.memory.clock import ManualExecutor, ManualLoop

SLAB = 256
IDLE = 60.0  # a client that sends nothing for so long while we read is closed
DEADLINE = 60.0  # a store that does not answer for so long has failed
PATIENCE = 1000.0  # the oldest upload must get on within this


class End(Enum):
    STORED = "stored"
    REFUSED = "refused"
    TOO_LARGE = "too large"
    TOO_SLOW = "too slow"
    CLIENT_GONE = "client gone"
    STORE_FAILED = "store failed"


class Kind(Enum):
    """What an upload's store takes."""

    ANY = "as the scenario says"
    EQUAL = "equal parts of its own size"
    ONLY = "one part"


@dataclass(frozen=True)
class Wish:
    """`part`: of EQUAL. `limit`: bytes it may have. `is_known`: its length was declared."""

    kind: Kind = Kind.ANY
    part: int = 0
    limit: int = 1 << 40
    is_known: bool = False


@dataclass(frozen=True)
class Client:
    """Sends `size` bytes in pieces of `piece`, one each `pace` seconds, from `start` on."""

    start: float
    size: int
    piece: int
    pace: float
    zero_copy: bool
    stops_at: int | None  # bytes after which it falls silent for ever
    wish: Wish = Wish()


@dataclass(frozen=True)
class Store:
    """Answers each part after `delay` s, in order; a part in `fails` never gets an answer."""

    delay: float
    concurrency: int
    retries: int
    fails: frozenset[int]


@dataclass(frozen=True)
class Disk:
    """`blocks` are configured, `real` are there; jobs take `delays`; some writes are errors."""

    blocks: int
    real: int
    delays: tuple[float, ...]
    errors: frozenset[int]  # which of the writes


@dataclass(frozen=True)
class Scenario:
    slabs: int  # beyond the reserve and the windows
    min_part: int
    part_size: int
    equal_parts: bool
    queue: int
    waters: tuple[float, float, float]  # low, high, flying share
    disk: Disk
    uploads: tuple[tuple[Client, Store], ...]
    stall: float = 20.0

    @property
    def reserve(self) -> int:
        return self.part_size if self.equal_parts else self.min_part

    @property
    def memory(self) -> Memory:
        low, high, flying = self.waters
        slabs = self.slabs + -(-self.reserve // SLAB)
        return Memory(
            budget=Size((slabs + 1 + slabs // 16) * SLAB),
            slab=Size(SLAB),
            low_water=low,
            high_water=high,
            flying_share=flying,
            spill_budget=Size(self.disk.blocks * SLAB),
            queue=self.queue,
            stall_timeout=Duration(self.stall),
        )


class MadeUpDisk(SpillFile):
    """Bytes in a dict of blocks; trimmed blocks are zeros, as on a real disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self._blocks: dict[int, bytearray] = {}
        self._writes = 0

    def write(self, extents: Sequence[Extent], views: Sequence[memoryview]) -> None:
        self._writes += 1
        if self._writes in self._disk.errors:
            raise OSError(errno.EIO, "made up")
        data = b"".join(views)
        assert len(data) == sum(extent.size for extent in extents)
        for extent in extents:
            assert extent.offset + extent.size <= self._disk.blocks * SLAB
            for at in range(extent.offset, extent.offset + extent.size):
                block = self._blocks.get(at // SLAB)
                if block is None:
                    if len(self._blocks) >= self._disk.real:
                        raise OSError(errno.ENOSPC, "made up")
                    block = self._blocks[at // SLAB] = bytearray(SLAB)
                block[at % SLAB] = data[at - extent.offset]
            data = data[extent.size :]

    def read_now(self, extents: Sequence[Extent], window: memoryview) -> bool:
        return False

    def read(self, extents: Sequence[Extent], window: memoryview) -> None:
        done = 0
        for extent in extents:
            for at in range(extent.offset, extent.offset + extent.size):
                window[done] = (
                    self._blocks[at // SLAB][at % SLAB] if at // SLAB in self._blocks else 0
                )
                done += 1

    def trim(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            for block in range(extent.offset // SLAB, (extent.offset + extent.size) // SLAB):
                self._blocks.pop(block, None)


@dataclass
class Upload:
    """One client, its buffer and its store."""

    world: "World"
    number: int
    client: Client
    store: Store
    end: End | None = None
    ended_at: float = 0.0
    buffer: UploadBuffer | None = None
    parts: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = random.Random(self.number).randbytes(self.client.size)
        self.needs = self.world.needs_of(self.client.wish)
        self.most = self.client.size
        self.may_read = asyncio.Event()
        self.may_read.set()

    @property
    def is_healthy(self) -> bool:
        return self.client.stops_at is None and not self.store.fails

    async def run(self) -> None:
        await asyncio.sleep(self.client.start)
        try:
            self.buffer = self.world.open(self)
        except MemoryShort:
            self.end = End.REFUSED
            return
        except BodyTooLarge:
            self.end = End.TOO_LARGE
            return
        self.end = await self._transfer(self.buffer)
        self.ended_at = self.world.loop.time()
        self.buffer.close()
        self.world.check()

    async def _transfer(self, buffer: UploadBuffer) -> End:
        storing = asyncio.ensure_future(self._store(buffer))
        sending = asyncio.ensure_future(self._send(buffer))
        done, _ = await asyncio.wait({storing, sending}, return_when=asyncio.FIRST_COMPLETED)
        if storing not in done and not sending.exception() and sending.result():
            await asyncio.wait({storing})
        for task in (storing, sending):
            task.cancel()
        await asyncio.gather(storing, sending, return_exceptions=True)
        if not sending.cancelled() and sending.exception() is not None:
            assert isinstance(sending.exception(), BodyTooLarge)
            return End.TOO_LARGE
        return End.CLIENT_GONE if storing.cancelled() else storing.result()

    # --- the socket's side

    async def _send(self, buffer: UploadBuffer) -> bool:
        while buffer.total < len(self.data):
            if self.client.stops_at is not None and buffer.total >= self.client.stops_at:
                await asyncio.sleep(IDLE)
                return False
            await asyncio.sleep(self.client.pace)
            await self._read(buffer)
            self.world.check()
            if buffer.total > self.most:
                raise BodyTooLarge
            if buffer.total < len(self.data) and not buffer.room():
                self.may_read.clear()  # as a connection does, before anything arrives
        buffer.finish()
        self.world.check()
        return True

    async def _read(self, buffer: UploadBuffer) -> None:
        await self.may_read.wait()
        while not (room := buffer.room()):
            self.may_read.clear()
            self.world.check()
            await self.may_read.wait()
        at = buffer.total
        piece = self.data[at : at + self.client.piece]
        if not self.client.zero_copy:
            taken = buffer.feed(piece[: room // 2])
            taken += buffer.feed(piece[taken:])
            assert taken >= min(room, len(piece))
            return
        window = buffer.get_buffer()
        assert len(window) > 0
        n = min(len(window), len(piece))
        window[:n] = piece[:n]
        buffer.buffer_updated(n)

    # --- the store's side

    async def _store(self, buffer: UploadBuffer) -> End:
        gate = asyncio.Semaphore(self.store.concurrency)
        puts: set[asyncio.Task[bool]] = set()
        try:
            while (part := await buffer.next_part()) is not None:
                await gate.acquire()
                puts.add(asyncio.ensure_future(self._put(part, gate)))
                if any(put.done() and not put.result() for put in puts):
                    return End.STORE_FAILED
            results = await asyncio.gather(*puts)
            return End.STORED if all(results) else End.STORE_FAILED
        except MemoryShort:
            return End.REFUSED
        except TooSlow:
            return End.TOO_SLOW
        finally:
            for put in puts:
                put.cancel()
            await asyncio.gather(*puts, return_exceptions=True)

    async def _put(self, part: BufferedPart, gate: asyncio.Semaphore) -> bool:
        views: list[memoryview] = []
        try:
            for _ in range(self.store.retries):
                await self._read_back(part, views)
            body = await self._read_back(part, views)
            if part.number in self.store.fails:
                await asyncio.sleep(DEADLINE)
                return False
        except OwnFault:
            return False
        finally:
            part.release()
            gate.release()
            self.world.check()
        assert len(body) == part.size
        assert body == self.data[part.offset : part.offset + part.size]
        assert not part.is_last or part.offset + part.size == len(self.data)
        self.parts[part.number] = body
        await asyncio.sleep(self.store.delay)  # a transport may keep views of a released part
        return True

    async def _read_back(self, part: BufferedPart, views: list[memoryview]) -> bytes:
        pieces = []
        async for run in part.chunks():
            views += run
            await asyncio.sleep(self.store.delay)  # a run stays valid while it is sent
            pieces.append(b"".join(run))
        return b"".join(pieces)


class World:
    """A scenario under way."""

    def __init__(self, scenario: Scenario, loop: ManualLoop) -> None:
        self.scenario = scenario
        self.loop = loop
        self.needs = StoreNeeds(
            min_part=scenario.min_part,
            part_size=scenario.part_size,
            equal_parts=scenario.equal_parts,
        )
        self.disk = MadeUpDisk(scenario.disk)
        self.arena = Arena(
            scenario.memory,
            reserve_bytes=scenario.reserve,
            loop=loop,
            executor=ManualExecutor(loop, cycle(scenario.disk.delays)),
            spill_file=self.disk,
        )
        self.uploads = [Upload(self, n, c, s) for n, (c, s) in enumerate(scenario.uploads)]

    def needs_of(self, wish: Wish) -> StoreNeeds:
        if wish.kind is Kind.ANY:
            return self.needs
        if wish.kind is Kind.ONLY:
            return StoreNeeds(min_part=1, part_size=1 << 30, max_part=1 << 30, max_parts=1)
        return StoreNeeds(min_part=wish.part, part_size=wish.part, equal_parts=True)

    def open(self, upload: Upload) -> UploadBuffer:
        """As an upload does: what can never be held is refused when that is certain."""
        needs, wish, size = upload.needs, upload.client.wish, upload.client.size
        limits = [wish.limit]
        if needs.max_parts == 1:
            limits.append(self.arena.largest_part(needs))
        upload.most = min(limits)
        if wish.is_known and size > upload.most:
            raise BodyTooLarge
        if wish.is_known:
            upload.most = size
        return self.arena.open(
            needs,
            lambda number: needs.part_size,
            Callbacks(upload.may_read.clear, upload.may_read.set),
            most=upload.most,
        )

    async def run(self) -> None:
        watch = asyncio.ensure_future(self._watch_oldest())
        await asyncio.gather(*(upload.run() for upload in self.uploads))
        watch.cancel()
        await self.arena.close()
        self.check()
        self._check_empty()
        for upload in self.uploads:
            self._check_end(upload)

    def check(self) -> None:
        """What holds at every moment."""
        arena, scenario = self.arena, self.scenario
        pool, policy = arena._pool, arena._policy
        windows = arena._spill._windows.bytes
        assert pool.slab_count * SLAB + windows <= scenario.memory.budget
        assert arena._spill.held <= scenario.memory.spill_budget
        assert policy.flying == sum(
            part.slabs for buffer in arena._uploads.values() for part in buffer._parts
        )
        tails = sum(buffer.held for buffer in arena._uploads.values())
        assert tails - policy._owned <= pool.slab_count - policy.reserve
        self._check_line()

    def _check_line(self) -> None:
        """Each upload in line could finish if all before it had."""
        line = self.arena._policy.line
        members = list(line._members)
        for account in members:
            buffer = self.arena._uploads[account]
            assert account.held == buffer.held
            assert account.disk == buffer.disk
        assert line._held == sum(account.held for account in members)
        assert line._disk == sum(account.disk for account in members)
        behind = 0
        for account in reversed(members):
            assert behind + account.claim <= line.capacity
            behind += account.disk if line.is_on_disk else account.held

    def _check_empty(self) -> None:
        arena = self.arena
        policy = arena._policy
        assert arena._pool.used_count == 0
        assert arena._spill.held == 0
        assert arena._spill.writing == 0
        assert (policy.flying, policy.paused, policy.owner) == (0, 0, None)
        assert policy.victim() is None
        assert arena.stats.uploads == 0
        assert not arena._eviction._whole

    def _check_end(self, upload: Upload) -> None:
        assert upload.end is not None
        if upload.is_healthy:
            assert upload.end in self._fair_ends(upload)
        if upload.end is not End.STORED:
            return
        numbers = sorted(upload.parts)
        assert numbers == list(range(1, len(numbers) + 1))
        assert b"".join(upload.parts[number] for number in numbers) == upload.data
        sizes = [len(upload.parts[number]) for number in numbers]
        needs = upload.needs
        assert len(sizes) <= needs.max_parts
        assert all(size >= needs.min_part for size in sizes[:-1])
        assert all(size <= needs.part_size for size in sizes)
        if needs.equal_parts:
            assert all(size == needs.part_size for size in sizes[:-1])

    def _fair_ends(self, upload: Upload) -> tuple[End, ...]:
        if upload.client.size > upload.most:
            return (End.TOO_LARGE, End.REFUSED)
        is_slow = upload.client.pace >= self.scenario.stall
        return (End.STORED, End.REFUSED, End.TOO_SLOW) if is_slow else (End.STORED, End.REFUSED)

    async def _watch_oldest(self) -> None:
        """The oldest upload that has a buffer gets on, whatever the others do."""
        seen: tuple[int, int] | None = None
        since = self.loop.time()
        while True:
            await asyncio.sleep(10)
            alive = [u for u in self.uploads if u.buffer is not None and u.end is None]
            if not alive:
                continue
            oldest = min(alive, key=lambda u: u.buffer.account.age if u.buffer else 0)
            assert oldest.buffer is not None
            now = (oldest.number, oldest.buffer.total)
            if now != seen:
                seen, since = now, self.loop.time()
            assert self.loop.time() - since < PATIENCE, f"upload {oldest.number} does not get on"


def simulate(scenario: Scenario) -> World:
    """Run it to its end; the world is returned for questions. Raises AssertionError."""
    loop = ManualLoop()
    try:
        return loop.run_until_complete(_run(scenario, loop))
    finally:
        loop.close()


async def _run(scenario: Scenario, loop: ManualLoop) -> World:
    world = World(scenario, loop)
    await world.run()
    return world
