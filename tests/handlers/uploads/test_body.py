"""An upload whose client is slow: it only takes bytes, and needs nothing else for that."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from msgspec.structs import replace

from fastproxy.claims import Signer
from fastproxy.config.schema import LocalStore, Memory, Size, UploadRoute
from fastproxy.errors import BackendFault, ClientGone
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.handlers.uploads.body import Step, Upload
from fastproxy.handlers.uploads.kit import UploadKit
from fastproxy.handlers.uploads.semaphore import CallbackSemaphore
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.memory.arena import Arena
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.observe.metrics import Board
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store
from fastproxy.storage.undoing import Undoing
from fastproxy.uploads.answer import Permission
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.handlers.memory_client import MemoryClient, exchange_of
from tests.support.collector import alive, no_collections
from tests.support.monolith import Monolith, monolith
from tests.support.waiting import until

MIB = 1 << 20
SECRET = b"a shared secret of 32 bytes long"
TIMEOUT_S = 100.0


class Taken:
    """An upload in this process, into a directory, permitted by a real backend."""

    def __init__(self, home: Path, backend: Monolith) -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        self.deadlines = reactor.deadlines
        self.client = MemoryClient()
        self.arena = Arena(Memory(budget=Size(16 * MIB)), reserve_bytes=1)
        self.pool = Pool(parse_origin(backend.address), PoolLimits(max_connections=1), reactor)
        self.tasks = Tasks()
        self.storing = CallbackSemaphore(1)
        self.metrics = Board((), 1, "0").worker(0)
        http = HttpClient(reactor, PoolLimits())
        undoing = Undoing(Journal())
        self.store = open_store("s", LocalStore(path=str(home)), http.request, undoing)
        kit = UploadKit(
            UploadRoute(path="/", timeout=TIMEOUT_S),
            Target("b", self.pool, 60, 60),
            self.store,
            self.arena,
            Signer(SECRET, "fastproxy", 60),
            lambda target: self.store,
            UploadMetrics(self.metrics),
            self.tasks,
            self.deadlines,
            self.storing,
        )
        self.exchange = exchange_of(self.client, method=b"PUT")
        self.exchange.head.is_chunked = True
        self.client.is_body_complete = False
        self.upload = Upload(self.exchange, kit)

    async def receive(self, data: bytes) -> None:
        """Be permitted, and take these bytes."""
        self.upload.start()
        await until(lambda: self.client.reads_body)
        assert self.exchange.direct is not None
        assert self.exchange.direct.room() >= len(data)
        self.upload.body_data([memoryview(data)])
        await until(lambda: not len(self.tasks))

    def finished(self, result: str) -> float:
        return self.metrics.family("fastproxy_uploads_finished_total")[result].value

    def turn_is_free(self) -> bool:
        asked: list[bool] = []
        self.storing.acquire(lambda: asked.append(True) or True)
        return asked == [True]

    def is_gone(self) -> bool:
        """Nothing is held and nothing runs."""
        stats = self.arena.stats
        is_watched = len(self.deadlines) > self.pool.idle_count
        return not (stats.uploads or stats.slabs_used or len(self.tasks) or is_watched)

    async def close(self) -> None:
        self.pool.close()
        await self.store.close()
        await self.arena.close()


class Holder:
    """Holds the only connection to the backend."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: UpstreamConnection | None = None
        pool.acquire(self)

    @property
    def has_it(self) -> bool:
        return self._connection is not None

    def connected(self, connection: UpstreamConnection) -> None:
        self._connection = connection

    def connect_failed(self, fault: BackendFault) -> None:
        raise fault

    def let_go(self) -> None:
        assert self._connection is not None
        self._connection.rest()
        self._pool.give_back(self._connection)


def run(home: Path, main: Callable[[Taken, Monolith], Awaitable[None]]) -> None:
    async def bounded(backend: Monolith) -> None:
        async with asyncio.timeout(20):
            taken = Taken(home, backend)
            await main(taken, backend)
            await taken.close()

    with (
        monolith(SECRET) as backend,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(bounded(backend))


KINDS = (Upload, UploadBuffer, Exchange, Permission)


def stored_in(home: Path) -> list[bytes]:
    """What every object there holds."""
    return [path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "lock"]


def test_while_only_bytes_come_there_is_no_task(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        await taken.receive(b"first, ")
        assert taken.upload._step is Step.RECEIVING
        assert taken.arena.stats.slabs_used == 1
        taken.upload.body_data([memoryview(b"second")])
        taken.upload.body_end()
        await until(lambda: taken.client.status == 201)
        await until(taken.is_gone)
        assert taken.finished("stored") == 1

    run(tmp_path, main)
    assert stored_in(tmp_path) == [b"first, second"]


def test_a_client_that_leaves_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        await taken.receive(b"first")
        taken.upload.client_failed(ClientGone("reset"))
        assert taken.is_gone()
        assert taken.exchange.stage is Stage.OVER
        assert taken.finished("client") == 1

    run(tmp_path, main)


def test_what_follows_a_piece_that_is_refused_is_not_taken(tmp_path: Path) -> None:
    """A read brings several pieces, where they come in chunks."""

    async def main(taken: Taken, backend: Monolith) -> None:
        kit = taken.upload._kit
        kit.route = replace(kit.route, scrub_images=True, refuse_images=("tiff",))
        taken.upload.start()
        await until(lambda: taken.client.reads_body)
        taken.upload.body_data([memoryview(b"II*\0" + bytes(12)), memoryview(b"more")])
        assert taken.client.status == 415
        await until(taken.is_gone)
        assert taken.finished("client") == 1

    run(tmp_path, main)


def test_a_client_that_leaves_as_its_body_ends_leaves_nothing(tmp_path: Path) -> None:
    """The task that would store it has been made, and did not begin yet."""

    async def main(taken: Taken, backend: Monolith) -> None:
        await taken.receive(b"all")
        taken.upload.body_end()
        assert len(taken.tasks) == 1
        taken.upload.client_failed(ClientGone("reset"))
        await until(taken.is_gone)
        assert taken.finished("client") == 1
        assert taken.finished("stored") == 0
        assert taken.turn_is_free()

    run(tmp_path, main)
    assert stored_in(tmp_path) == []


def test_the_deadline_of_an_upload_ends_it_while_it_waits(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        await taken.receive(b"first")
        now = taken.deadlines.now
        taken.deadlines.check(now + TIMEOUT_S - 1)
        assert taken.upload._step is Step.RECEIVING
        taken.deadlines.check(now + TIMEOUT_S + 1)
        assert taken.client.status == 408
        assert taken.is_gone()

    run(tmp_path, main)


def test_a_body_that_came_with_its_head_is_stored_by_the_first_task(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        want_body = taken.client.want_body

        def deliver() -> None:
            want_body()
            taken.upload.body_data([memoryview(b"all")])
            taken.upload.body_end()

        taken.client.want_body = deliver
        taken.upload.start()
        await until(lambda: taken.client.status == 201)
        await until(taken.is_gone)

    run(tmp_path, main)


def test_who_waits_for_a_connection_to_ask_over_has_no_task(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        holder = Holder(taken.pool)
        await until(lambda: holder.has_it)
        taken.upload.start()
        assert len(taken.tasks) == 0
        holder.let_go()
        assert len(taken.tasks) == 1
        await until(lambda: taken.client.reads_body)
        taken.upload.body_end()
        await until(lambda: taken.client.status == 201)
        await until(taken.is_gone)

    run(tmp_path, main)


def test_a_client_that_leaves_before_its_question_leaves_the_connection(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        holder = Holder(taken.pool)
        await until(lambda: holder.has_it)
        taken.upload.start()
        taken.upload.client_failed(ClientGone("reset"))
        assert taken.exchange.stage is Stage.OVER
        holder.let_go()
        assert taken.pool.idle_count == 1
        assert taken.is_gone()
        assert backend.questions("/") == []

    run(tmp_path, main)


def test_a_client_that_leaves_as_its_question_begins_leaves_the_connection(tmp_path: Path) -> None:
    """The task that would ask has been made, and did not begin yet."""

    async def main(taken: Taken, backend: Monolith) -> None:
        holder = Holder(taken.pool)
        await until(lambda: holder.has_it)
        holder.let_go()
        taken.upload.start()
        assert len(taken.tasks) == 1
        taken.upload.client_failed(ClientGone("reset"))
        await until(taken.is_gone)
        assert taken.exchange.stage is Stage.OVER
        assert taken.pool.idle_count == 1
        assert backend.questions("/") == []

    run(tmp_path, main)


def test_who_waits_too_long_for_a_connection_hears_that_the_backend_is_busy(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        holder = Holder(taken.pool)
        await until(lambda: holder.has_it)
        taken.upload.start()
        taken.deadlines.check(taken.deadlines.now + PoolLimits().queue_timeout_s + 1)
        assert taken.client.status == 503
        holder.let_go()
        assert taken.is_gone()

    run(tmp_path, main)


def test_a_whole_body_waits_for_its_turn_without_a_task(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        taken.storing.acquire(lambda: True)
        await taken.receive(b"all")
        taken.upload.body_end()
        assert len(taken.tasks) == 0
        taken.storing.release()
        await until(lambda: taken.client.status == 201)
        await until(taken.is_gone)
        assert taken.turn_is_free()

    run(tmp_path, main)
    assert stored_in(tmp_path) == [b"all"]


def test_who_leaves_before_or_in_its_turn_does_not_keep_it(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        taken.storing.acquire(lambda: True)
        await taken.receive(b"all")
        taken.upload.body_end()
        taken.upload.client_failed(ClientGone("reset"))
        taken.storing.release()
        await until(taken.is_gone)
        assert taken.turn_is_free()

    run(tmp_path, main)
    assert stored_in(tmp_path) == []


def test_what_is_over_leaves_nothing_to_the_collector_of_cycles(tmp_path: Path) -> None:
    async def main(taken: Taken, backend: Monolith) -> None:
        await taken.receive(b"all")
        taken.upload.body_end()
        await until(lambda: taken.client.status == 201)
        await until(taken.is_gone)
        taken.client.reports.clear()
        del taken.upload, taken.exchange
        await asyncio.sleep(0)
        assert alive(KINDS) <= before

    with no_collections():
        before = alive(KINDS)
        run(tmp_path, main)
