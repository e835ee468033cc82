"""A directory as a store: keys, crashes, disks."""

import asyncio
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import StoreMismatch, StoreRefused, StoreUnavailable
from fastproxy.storage import local
from fastproxy.storage.contract import Leftover, Stage, Stored
from fastproxy.storage.folder import MARK, TMP, Folder, segments
from fastproxy.storage.local import LocalStore
from tests.storage.bodies import Bytes, pattern
from tests.support import child


def with_store(root: Path, body: Callable[[LocalStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = LocalStore(str(root))
        try:
            async with asyncio.timeout(30):
                await body(store)
        finally:
            await store.close()

    asyncio.run(main())


def unfinished(root: Path) -> list[str]:
    return [p.name for p in (root / TMP).rglob("*") if p.is_file() and p.name != "lock"]


async def remove(store: LocalStore, key: str, stored: Stored | None = None) -> None:
    """Take back the write that gave `stored`."""
    etag = stored.etag if stored else ""
    await store.undo(Leftover(key, Stage.STORED, 0.0, "a write", etag=etag))


def keeps_marks(directory: Path) -> bool:
    """Whether this file system has extended attributes."""
    probe = directory / "probe"
    probe.touch()
    try:
        os.setxattr(probe, MARK, b"x")
    except OSError:
        return False
    return True


BAD_KEYS = ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "a/./b", "a\0b"]


@pytest.mark.parametrize("key", [*BAD_KEYS, TMP, f"{TMP}/x"])
def test_a_key_that_could_lead_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    async def body(store: LocalStore) -> None:
        for attempt in (store.put(key, Bytes(b"x")), store.begin(key)):
            with pytest.raises(StoreRefused):
                await attempt
        await remove(store, key)  # nothing was ever there

    with_store(tmp_path / "root", body)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["lock"]


@given(st.text(max_size=20).map(lambda s: s.replace("x", "/").replace("y", "..")))
def test_every_accepted_key_stays_beneath_the_root(key: str) -> None:
    try:
        parts = segments(key)
    except StoreRefused:
        return
    assert os.path.normpath("/root/" + "/".join(parts)) == "/root/" + key


@pytest.mark.parametrize("link", ["dir", "dir/deeper"])
def test_a_symbolic_link_in_the_way_is_refused(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    async def body(store: LocalStore) -> None:
        place = tmp_path / "root" / link
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(outside)
        with pytest.raises(StoreRefused):
            await store.put(f"{link}/file", Bytes(b"x"))
        stored = await store.put("file", Bytes(b"keep"))
        (tmp_path / "root" / "file").rename(outside / "file")
        await remove(store, f"{link}/file", stored)

    with_store(tmp_path / "root", body)
    assert (outside / "file").read_bytes() == b"keep"


def test_a_link_in_the_place_of_an_object_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep")

    async def body(store: LocalStore) -> None:
        (tmp_path / "root" / "k").symlink_to(victim)
        await store.put("k", Bytes(b"new"))

    with_store(tmp_path / "root", body)
    assert victim.read_bytes() == b"keep"
    assert (tmp_path / "root" / "k").read_bytes() == b"new"


def test_a_key_beneath_an_object_is_refused(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        await store.put("a", Bytes(b"x"))
        with pytest.raises(StoreRefused):
            await store.put("a/b", Bytes(b"y"))
        await remove(store, "a/b")

    with_store(tmp_path, body)
    assert (tmp_path / "a").read_bytes() == b"x"
    assert unfinished(tmp_path) == []


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        stored = await store.put("d/k", Bytes(b"x"))
        assert stored.path == str(tmp_path / "d" / "k")
        assert stat.S_IMODE(os.stat(stored.path).st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / TMP).stat().st_mode) == 0o700

    with_store(tmp_path, body)


def test_deleting_prunes_empty_directories_only(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        deep = await store.put("a/b/c", Bytes(b"x"))
        other = await store.put("a/other", Bytes(b"x"))
        await remove(store, "a/b/c", deep)
        assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["other"]
        await remove(store, "a/other", other)
        assert not (tmp_path / "a").exists()

    with_store(tmp_path, body)


def test_stores_and_deletes_of_neighbours_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        async def churn(name: str) -> None:
            for _ in range(30):
                stored = await store.put(f"a/b/{name}", Bytes(b"x"))
                await remove(store, f"a/b/{name}", stored)

        await asyncio.gather(*(churn(name) for name in "123456"))
        assert not (tmp_path / "a").exists()

    with_store(tmp_path, body)


def test_a_missing_part_is_a_mismatch_even_if_the_file_is_long_enough(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        upload = await store.begin("k")
        await upload.put_part(Bytes(b"x" * 10, 3, 20))
        await upload.put_part(Bytes(b"x" * 10, 1, 0))
        with pytest.raises(StoreMismatch):
            await upload.complete(30)
        await upload.abort()

    with_store(tmp_path, body)
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("claimed", [9, 11])
def test_a_body_of_another_size_than_it_claims_is_a_mismatch(tmp_path: Path, claimed: int) -> None:
    async def body(store: LocalStore) -> None:
        part = Bytes(b"x" * 10)
        part.size = claimed
        with pytest.raises(StoreMismatch):
            await store.put("k", part)

    with_store(tmp_path, body)
    assert not (tmp_path / "k").exists()
    assert unfinished(tmp_path) == []


def test_an_ended_upload_takes_no_more_parts(tmp_path: Path) -> None:
    async def body(store: LocalStore) -> None:
        upload = await store.begin("k")
        await upload.abort()
        with pytest.raises(StoreRefused):
            await upload.put_part(Bytes(b"x"))
        with pytest.raises(StoreRefused):
            await upload.complete(0)

    with_store(tmp_path, body)


def test_a_full_disk_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    async def body(store: LocalStore) -> None:
        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await store.put("k", Bytes(b"x"))

    with_store(tmp_path, body)
    assert unfinished(tmp_path) == []


def test_a_cancelled_write_ends_before_its_memory_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, may_go = threading.Event(), threading.Event()
    real = os.pwritev
    written = []

    def slow(fd: int, views: list[memoryview], offset: int) -> int:
        started.set()
        assert may_go.wait(10)
        written.append(real(fd, views, offset))
        return written[-1]

    async def body(store: LocalStore) -> None:
        monkeypatch.setattr(os, "pwritev", slow)
        task = asyncio.create_task(store.put("k", Bytes(b"x" * 10)))
        await asyncio.to_thread(started.wait)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert written == [10]

    with_store(tmp_path, body)
    assert unfinished(tmp_path) == []
    assert not (tmp_path / "k").exists()


@given(st.lists(st.integers(0, 40), max_size=2100), st.integers(1, 50))
def test_short_writes_lose_no_byte(sizes: list[int], most: int) -> None:
    data = pattern(sum(sizes) + 1)[: sum(sizes)]
    views, at = [], 0
    for size in sizes:
        views.append(memoryview(data)[at : at + size])
        at += size
    file = bytearray(len(data) + 3)

    def pwritev(fd: int, buffers: list[memoryview], offset: int) -> int:
        assert len(buffers) <= 1024
        joined = b"".join(buffers)[:most]
        file[offset : offset + len(joined)] = joined
        return len(joined)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwritev", pwritev)
        assert local._write_all(0, views, 3) == len(data)
    assert bytes(file[3:]) == data


CRASH = """
import asyncio, os, sys
from fastproxy.storage.local import LocalStore
from tests.storage.bodies import Bytes
async def main():
    store = LocalStore(sys.argv[1])
    upload = await store.begin("half")
    await upload.put_part(Bytes(b"x" * 1000))
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_what_a_killed_process_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:

    async def nothing(store: LocalStore) -> None:
        """Opening sweeps."""

    with child.python(CRASH, str(tmp_path)) as (_, said):
        assert said.readline() == b"ready\n"
        with_store(tmp_path, nothing)
        assert len(unfinished(tmp_path)) == 1
    with_store(tmp_path, nothing)
    assert unfinished(tmp_path) == []
    assert [p.name for p in (tmp_path / TMP).iterdir()] == ["lock"]


def test_nothing_replaces_an_object_between_the_look_and_the_removal(tmp_path: Path) -> None:
    """Another process, and another thread, stores under the key just then."""
    folder, other = Folder(str(tmp_path), fsync=False), Folder(str(tmp_path), fsync=False)
    for each in (folder, other):
        name, fd = each.create_temp("")
        each.commit(name, fd, "k")
        os.close(fd)
        name, fd = each.create_temp("")
        os.write(fd, b"newer")
        commit = threading.Thread(target=other.commit, args=(name, fd, "k"))
        if each is folder:
            commit = threading.Thread(target=folder.commit, args=(name, fd, "k"))

        def is_meant(stat: os.stat_result, commit: threading.Thread = commit) -> bool:
            commit.start()
            commit.join(0.2)  # it would be done in a moment
            return stat.st_size == 0

        folder.remove_if("k", is_meant)
        commit.join()
        os.close(fd)
        assert (tmp_path / "k").read_bytes() == b"newer"
    folder.close()
    other.close()


@pytest.mark.parametrize("stage", [Stage.COMPLETING, Stage.STORED, Stage.REFUSED])
def test_undoing_removes_only_the_object_of_that_write(tmp_path: Path, stage: Stage) -> None:
    async def body(store: LocalStore) -> None:
        ours = await store.put("k", Bytes(b"x"), write_id="ours")
        etag = "" if stage is Stage.COMPLETING else ours.etag
        left = Leftover("k", stage, 0.0, "ours", etag=etag)
        await store.put("k", Bytes(b"x"), write_id="another")
        await store.undo(left)
        assert (tmp_path / "k").exists()
        again = await store.put("k", Bytes(b"x"), write_id="ours")
        await store.undo(Leftover("k", stage, 0.0, "ours", etag=again.etag if etag else ""))
        assert (tmp_path / "k").exists() == (not etag and not keeps_marks(tmp_path))

    with_store(tmp_path, body)
