"""What every store promises, on real stores."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fastproxy.errors import StorageFault, StoreMismatch
from fastproxy.storage.contract import MAX_EXCERPT, Stored
from fastproxy.storage.sender import NotThere
from tests.contract import stores
from tests.contract.stores import PART, MiB, Opener, Rig
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import Bytes, cut, pattern

KINDS: dict[str, Opener] = {
    "local": stores.local,
    "s3": stores.s3,
    "presigned-multipart": stores.presigned_multipart,
    "presigned-put": stores.presigned_put,
}
MULTIPART = ["local", "s3", "presigned-multipart"]
SIZES = [0, 1, PART - 1, PART, PART + 1, 17 * MiB]


@pytest.fixture
def check(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str, Callable[[Rig], Awaitable[None]]], None]:
    """Run a test body against one kind of store on a fresh loop."""

    def run(kind: str, body: Callable[[Rig], Awaitable[None]]) -> None:
        server: Seaweed | None = None
        if kind != "local":
            server = request.getfixturevalue("seaweed")

        async def main() -> None:
            async with asyncio.timeout(60), KINDS[kind](tmp_path, server) as rig:
                await body(rig)
            assert rig.journal.live == ()

        asyncio.run(main())

    return run


Check = Callable[[str, Callable[[Rig], Awaitable[None]]], None]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["local", "s3", "presigned-put"])
def test_put_stores_exactly_the_bytes_it_was_given(check: Check, kind: str, size: int) -> None:
    async def body(rig: Rig) -> None:
        data = pattern(size)
        stored = await rig.store.put(rig.key, Bytes(data), content_type="text/plain")
        assert stored.size == size
        assert stored.etag
        assert rig.read() == data
        assert rig.rest() == []
        rig.store.keep(stored)

    check(kind, body)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MULTIPART)
def test_parts_in_any_order_and_in_parallel_make_the_object(
    check: Check, kind: str, size: int
) -> None:
    async def body(rig: Rig) -> None:
        data = pattern(size)
        parts = cut(data, PART)
        upload = await rig.store.begin(rig.key, size=None)
        await asyncio.gather(*(upload.put_part(part) for part in reversed(parts)))
        assert rig.read() is None  # nothing is visible before complete
        stored = await upload.complete(size)
        assert stored.size == size
        assert rig.read() == data
        assert rig.rest() == []
        rig.store.keep(stored)

    check(kind, body)


@pytest.mark.parametrize("kind", MULTIPART)
def test_an_abort_leaves_nothing_and_may_come_again(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        upload = await rig.store.begin(rig.key)
        await upload.put_part(Bytes(pattern(PART)))
        assert rig.rest() != []
        await upload.abort()
        await upload.abort()
        assert rig.read() is None
        assert rig.rest() == []

    check(kind, body)


@pytest.mark.parametrize("kind", MULTIPART)
def test_an_abort_after_a_failed_complete_leaves_nothing(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        upload = await rig.store.begin(rig.key)
        await upload.put_part(Bytes(pattern(PART)))
        with pytest.raises(StoreMismatch):
            await upload.complete(PART + 1)
        await upload.abort()
        assert rig.read() is None
        assert rig.rest() == []

    check(kind, body)


@pytest.mark.parametrize("kind", MULTIPART)
def test_a_cancelled_part_can_be_aborted(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        upload = await rig.store.begin(rig.key)
        stuck = asyncio.Event()

        class Stuck(Bytes):
            async def chunks(self):  # type: ignore[no-untyped-def]
                yield [memoryview(self.data)[:1000]]
                stuck.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(upload.put_part(Stuck(pattern(PART))))
        await stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upload.abort()
        assert rig.read() is None
        assert rig.rest() == []

    check(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_nobody_wants_goes(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        stored = await rig.store.put(rig.key, Bytes(b"some bytes"))
        assert rig.read() == b"some bytes"
        rig.store.report(stored)
        await rig.store.drop(stored)
        assert rig.read() is None

    check(kind, body)


@pytest.mark.parametrize("first", ["kept", "dropped"])
@pytest.mark.parametrize("second", ["kept", "dropped"])
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_write_of_the_same_key_has_a_fate_of_its_own(
    check: Check, kind: str, first: str, second: str
) -> None:
    async def body(rig: Rig) -> None:
        async def settle(stored: Stored, fate: str) -> None:
            if fate == "kept":
                rig.store.keep(stored)
            else:
                await rig.store.drop(stored)

        one = await rig.store.put(rig.key, Bytes(b"equal"))
        other = await rig.store.put(rig.key, Bytes(b"equal"))
        await settle(one, first)
        assert rig.read() == b"equal"
        await settle(other, second)
        assert rig.read() == (b"equal" if second == "kept" else None)

    check(kind, body)


@pytest.mark.parametrize("kind", ["presigned-put", "presigned-multipart"])
def test_an_object_that_took_the_place_of_a_presigned_one_is_left(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        stored = await rig.store.put(rig.key, Bytes(b"refused"))
        rig.write(b"another")
        await rig.store.drop(stored)
        assert rig.read() == b"another"

    check(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_put_whose_body_fails_leaves_nothing(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        class Failing(Bytes):
            async def chunks(self):  # type: ignore[no-untyped-def]
                yield [memoryview(self.data)[:1000]]
                raise StorageFault("the spill file cannot be read")

        with pytest.raises(StorageFault, match="spill file"):
            await rig.store.put(rig.key, Failing(pattern(100_000)))
        await rig.store.close()  # waits for the undoing
        assert rig.read() is None
        assert rig.rest() == []

    check(kind, body)


@pytest.mark.parametrize("kind", ["local", "s3", "presigned-put"])
def test_a_range_of_an_object_can_be_read(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        data = pattern(3 * MiB)
        stored = await rig.store.put(rig.key, Bytes(data))
        rig.store.keep(stored)
        for start, length in ((0, 1), (0, 4096), (1000, MAX_EXCERPT), (3 * MiB - 5, 100), (7, 0)):
            excerpt = await rig.store.read(rig.key, start, length)
            assert excerpt.data == data[start : start + length]
            assert (excerpt.size, excerpt.etag) == (3 * MiB, stored.etag)
            assert abs(excerpt.modified - time.time()) < 3600
        with pytest.raises(NotThere):
            await rig.store.read(rig.key, 3 * MiB + 1, 1)

    check(kind, body)


@pytest.mark.parametrize("kind", ["local", "s3", "presigned-put"])
def test_an_empty_object_and_none_can_be_told_apart(check: Check, kind: str) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(NotThere):
            await rig.store.read(rig.key, 0, 1)
        rig.store.keep(await rig.store.put(rig.key, Bytes(b"")))
        excerpt = await rig.store.read(rig.key, 0, 1)
        assert (excerpt.data, excerpt.size) == (b"", 0)

    check(kind, body)


@pytest.mark.parametrize("key", ["../a", "a/../../b", "", ".fastproxy-tmp/x", "a/link"])
def test_a_local_store_reads_nothing_outside_of_it(check: Check, key: str) -> None:
    async def body(rig: Rig) -> None:
        rig.store.keep(await rig.store.put("a/b", Bytes(b"b")))
        (Path(rig.store.place.removeprefix("file:")) / "a" / "link").symlink_to("/etc/passwd")
        with pytest.raises(StorageFault):
            await rig.store.read(key, 0, 10)

    check("local", body)
