"""The benchmarks' object store knows every wrong byte, and keeps the promises of S3."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from benchmarks.pattern import WINDOW, Body, piece
from benchmarks.sink import Sink, SinkConnection
from fastproxy.config import schema
from fastproxy.errors import StorageFault
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.s3 import S3Store
from tests.storage.bodies import Bytes, http_client
from tests.support.waiting import until

T = TypeVar("T")
MIB = 1 << 20


def content(body: Body) -> bytes:
    starts = range(0, body.size, WINDOW)
    return b"".join(piece(body.start + at, min(WINDOW, body.size - at)) for at in starts)


def with_store(tmp: Path, sink: Sink, main: Callable[[S3Store], Coroutine[Any, Any, T]]) -> T:
    """`main` with the product's S3 store before the sink."""

    async def body() -> T:
        async with asyncio.timeout(60), opened(tmp, sink) as store:
            return await main(store)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(body())


@asynccontextmanager
async def opened(tmp: Path, sink: Sink) -> AsyncIterator[S3Store]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(SinkConnection, sink), "127.0.0.1", 0)
    for name in ("access", "secret"):
        (tmp / name).write_text(name)
    config = schema.S3Store(
        bucket="b",
        endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        region="us-east-1",
        prefix="pre/",
        access_key_file=str(tmp / "access"),
        secret_key_file=str(tmp / "secret"),
    )
    async with http_client() as call:
        store = S3Store(config, call)
        yield store
        await store.close()
    server.close()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 100_000, 3 * MIB + 1])
def test_a_whole_object_is_exact(tmp_path: Path, size: int) -> None:
    sink, body = Sink(), Body(7, size)
    stored = with_store(
        tmp_path, sink, lambda store: store.put(body.name, Bytes(content(body)), write_id="w")
    )
    assert stored.size == size
    assert sink.stats()["exact"] == 1
    assert sink.stats()["bytes"] == size


@pytest.mark.parametrize("at", [0, 14, 50_000, 99_999])
def test_one_wrong_byte_is_noticed(tmp_path: Path, at: int) -> None:
    sink, body = Sink(), Body(7, 100_000)
    data = bytearray(content(body))
    data[at] ^= 64
    with_store(tmp_path, sink, lambda store: store.put(body.name, Bytes(bytes(data))))
    assert (sink.stats()["exact"], sink.stats()["wrong"]) == (0, 1)


def parts_of(body: Body, *cuts: int) -> list[Bytes]:
    """The body's parts, numbered from 1."""
    data = content(body)
    edges = [0, *cuts, body.size]
    pairs = enumerate(itertools.pairwise(edges), 1)
    return [Bytes(data[a:b], number, a) for number, (a, b) in pairs]


async def send(store: S3Store, body: Body, parts: list[Bytes]) -> None:
    upload = await store.begin(body.name, write_id="w")
    for part in parts:
        await upload.put_part(part)
    await upload.complete(sum(part.size for part in parts))


def test_parts_in_any_order_are_exact_wherever_they_are_cut(tmp_path: Path) -> None:
    sink, body = Sink(), Body(3, 2 * MIB)
    parts = parts_of(body, 5, 5 + 16, 700_001, 1_300_007, 2 * MIB - 3)
    with_store(tmp_path, sink, lambda store: send(store, body, parts[::-1]))
    assert sink.stats()["exact"] == 1
    assert sink.stats()["part"] == 6
    assert sink.stats()["pending"] == 0


def test_parts_that_changed_places_are_noticed(tmp_path: Path) -> None:
    sink, body = Sink(), Body(3, 2 * MIB)
    first, second = parts_of(body, MIB)
    first.number, second.number = 2, 1
    with_store(tmp_path, sink, lambda store: send(store, body, [first, second]))
    assert sink.stats()["wrong"] == 1


def test_a_tiny_part_of_another_place_is_noticed(tmp_path: Path) -> None:
    sink, body = Sink(), Body(3, MIB)
    parts = [*parts_of(body, MIB - 3)[:1], Bytes(content(body)[:3], 2, MIB - 3)]
    with_store(tmp_path, sink, lambda store: send(store, body, parts))
    assert sink.stats()["wrong"] == 1


def test_a_missing_end_is_noticed(tmp_path: Path) -> None:
    sink, body = Sink(), Body(3, 2 * MIB)
    with_store(tmp_path, sink, lambda store: send(store, body, parts_of(body, MIB)[:1]))
    assert sink.stats()["wrong"] == 1


def test_completing_with_a_part_that_never_came_is_refused(tmp_path: Path) -> None:
    sink = Sink()

    async def main(store: S3Store) -> None:
        upload_id = sink.create("pre/k", b"w")
        with pytest.raises(StorageFault):
            await store._bucket.control.complete("pre/k", upload_id, [{"PartNumber": 1}])

    with_store(tmp_path, sink, main)
    assert sink.stats()["objects"] == 0


def test_an_aborted_upload_and_an_undone_object_are_gone(tmp_path: Path) -> None:
    sink, body = Sink(), Body(3, 20)

    async def main(store: S3Store) -> None:
        upload = await store.begin("k")
        await upload.abort()
        await store.put("k", Bytes(content(body)), write_id="mine")
        await store.undo(Leftover("k", Stage.STORED, time.time(), "another"))
        assert sink.stats()["objects"] == 1
        await store.undo(Leftover("k", Stage.STORED, time.time(), "mine"))

    with_store(tmp_path, sink, main)
    assert sink.stats()["objects"] == 0
    assert sink.stats()["pending"] == 0


def test_answers_to_parts_can_be_late(tmp_path: Path) -> None:
    """With a delay that never ends within the test no part is confirmed."""
    sink, body = Sink(delay_s=3600), Body(3, 20)

    async def main(store: S3Store) -> None:
        waiting = asyncio.create_task(store.put(body.name, Bytes(content(body))))
        await until(lambda: sink.stats()["exact"])
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with_store(tmp_path, sink, main)
