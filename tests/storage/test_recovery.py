"""kill -9 of a process amid uploads to a real S3; the next start leaves no trace of them."""

import asyncio
import json
import os
import secrets
import time
from pathlib import Path

import pytest

from fastproxy.config.schema import LocalStore
from fastproxy.errors import StoreUnavailable
from fastproxy.storage import journal as journal_module
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Journal, Recovery
from fastproxy.storage.open import open_store, recover_stores
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from tests.contract.stores import multipart_target, s3_config
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import Bytes, run
from tests.storage.full_disk import fill, full
from tests.support import child

CRASH = """
import asyncio, json, sys
from fastproxy.config.schema import S3Store
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_presigned, open_store
from fastproxy.storage.presigned import PresignedTarget
from fastproxy.storage.undoing import Undoing
from tests.storage.bodies import Bytes, http_client

async def main(state, config, target):
    undoing = Undoing(Journal(state))
    async with http_client() as call:
        store = open_store("s", S3Store(**config), call, undoing)
        upload = await store.begin("uploading")
        await upload.put_part(Bytes(b"x" * (5 << 20)))
        await store.put("stored", Bytes(b"x"))
        kept = await store.put("kept", Bytes(b"x"))
        store.report(kept)
        store.keep(kept)
        store.report(await store.put("reported", Bytes(b"x")))
        refused = await store.put("refused", Bytes(b"x"))
        store.report(refused)
        done = await store.begin("completed")
        await done.put_part(Bytes(b"x" * 10))
        await done.complete(10)
        target["part_urls"] = tuple(target["part_urls"])
        once = open_presigned(PresignedTarget(**target, headers=()), call, undoing)
        presigned = await once.begin("presigned")
        await presigned.put_part(Bytes(b"x" * 10))
        dropping = asyncio.create_task(store.drop(refused))
        await asyncio.sleep(0)  # its first request does not leave before the next turn
        print("ready", flush=True)
        sys.stdin.read()

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@pytest.fixture
def bucket(seaweed: Seaweed) -> str:
    name = f"b-{secrets.token_hex(6)}"
    witness = seaweed.client()
    witness.create_bucket(Bucket=name)
    witness.close()
    return name


def test_a_killed_process_leaves_neither_uploads_nor_unconfirmed_objects(
    tmp_path: Path, seaweed: Seaweed, bucket: str
) -> None:
    witness = seaweed.client()
    config = s3_config(tmp_path, seaweed, bucket)
    target = multipart_target(witness, bucket, "temp/presigned", parts=2)
    fields = ("bucket", "endpoint", "region", "prefix", "access_key_file", "secret_key_file")
    urls = ("get_url", "delete_url", "part_size", "part_urls", "complete_url", "abort_url")
    told = [
        str(tmp_path),
        {name: getattr(config, name) for name in fields},
        {name: getattr(target, name) for name in urls},
    ]
    with child.python(CRASH, json.dumps(told)) as (_, said):
        assert said.readline() == b"ready\n"

    def keys() -> list[str]:
        listed = witness.list_objects_v2(Bucket=bucket).get("Contents", [])
        return sorted(one["Key"] for one in listed)

    def uploads() -> int:
        return len(witness.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    assert keys() == [
        f"pre/{name}" for name in ("completed", "kept", "refused", "reported", "stored")
    ]
    assert uploads() == 2

    async def main(call: HttpCall) -> None:
        store = open_store("s", config, call, Undoing(Journal()))
        found = await recover_stores(str(tmp_path), {"s": store}, call, RetryPolicy())
        assert found == Recovery(undone=5, reported=1)
        await store.close()

    run(main)
    assert keys() == ["pre/kept", "pre/reported"]  # nobody knows the verdict on the latter
    assert uploads() == 0
    witness.close()


def test_an_upload_whose_id_was_never_heard_is_found_by_its_key(
    tmp_path: Path, seaweed: Seaweed, bucket: str
) -> None:
    witness = seaweed.client()
    for key in ("pre/lost", "pre/lost/other"):
        witness.create_multipart_upload(Bucket=bucket, Key=key)
    (began,) = (
        one["Initiated"].timestamp()
        for one in witness.list_multipart_uploads(Bucket=bucket)["Uploads"]
        if one["Key"] == "pre/lost"
    )

    async def main(call: HttpCall) -> None:
        store = open_store("s", s3_config(tmp_path, seaweed, bucket), call, Undoing(Journal()))
        await store.undo(Leftover("lost", Stage.INTENT, since=began - 3600))
        await store.undo(Leftover("lost", Stage.INTENT, since=began + 3600))
        assert len(witness.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2
        await store.undo(Leftover("lost", Stage.INTENT, since=began - 2))
        await store.close()

    run(main)
    rest = witness.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [one["Key"] for one in rest] == ["pre/lost/other"]
    witness.close()


def test_an_upload_that_lives_is_not_taken_for_a_lost_one(
    tmp_path: Path, seaweed: Seaweed, bucket: str
) -> None:
    witness = seaweed.client()
    lost = witness.create_multipart_upload(Bucket=bucket, Key="pre/k")["UploadId"]

    def pending() -> list[str]:
        listed = witness.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [one["UploadId"] for one in listed]

    async def main(call: HttpCall) -> None:
        store = open_store("s", s3_config(tmp_path, seaweed, bucket), call, Undoing(Journal()))
        left = Leftover("k", Stage.INTENT, since=time.time() - 2)
        upload = await store.begin("k")
        beginning = asyncio.create_task(store.begin("k"))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):  # which one that is will be known in a moment
            await store.undo(left)
        other = await beginning
        await store.undo(left)
        assert lost not in pending()
        assert {upload.upload_id, other.upload_id} == set(pending())
        await upload.abort()
        await other.abort()
        await store.close()

    run(main)
    witness.close()


def test_what_went_to_another_place_is_not_undone_here(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("s", "s3:elsewhere", Leftover("k", Stage.STORED, since=9e12))
    journal.begin("gone", "s3:elsewhere", Leftover("k", Stage.STORED, since=9e12))
    journal.close()

    async def main(call: HttpCall) -> None:
        store = open_store("s", LocalStore(path=str(tmp_path / "root")), call, Undoing(Journal()))
        found = await recover_stores(str(tmp_path), {"s": store}, call, RetryPolicy())
        assert (found.undone, found.kept) == (0, 2)
        await store.close()

    run(main)


def test_a_disk_that_is_full_stops_new_writes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room was made when a write began: what is stored is neither lost nor failed."""
    monkeypatch.setattr(journal_module, "COMPACT_LINES", 100)

    async def use_up(store: TrackedStore) -> None:
        while True:
            store.keep(await store.put("k", Bytes(b"x")))

    async def main(call: HttpCall) -> None:
        undoing = Undoing(Journal(str(tmp_path / "state")), settle_s=0)
        store = open_store("s", LocalStore(path=str(tmp_path / "root")), call, undoing)
        begun = await store.begin("begun")
        with monkeypatch.context() as patch:
            fill(patch)
            with pytest.raises(StoreUnavailable):
                await use_up(store)
            with pytest.raises(StoreUnavailable):
                await store.begin("k" * 100)  # a shorter line than the one refused might fit
            await begun.put_part(Bytes(b"x"))
            stored = await begun.complete(1)
            store.report(stored)
            store.keep(stored)
        assert undoing.journal.live == ()
        assert (tmp_path / "root" / "begun").exists()
        await store.close()
        undoing.journal.close()

    run(main)


def test_nobody_is_told_of_what_a_crash_would_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(call: HttpCall) -> None:
        undoing = Undoing(Journal(str(tmp_path / "state")), settle_s=0)
        store = open_store("s", LocalStore(path=str(tmp_path / "root")), call, undoing)
        stored = await store.put("k", Bytes(b"x"))
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_write", full)  # EIO, say
            with pytest.raises(StoreUnavailable):
                store.report(stored)
        await store.drop(stored)
        assert not (tmp_path / "root" / "k").exists()
        await store.close()
        undoing.journal.close()

    run(main)


def test_what_was_accepted_outlives_an_end_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, root = str(tmp_path / "state"), tmp_path / "root"

    async def main(call: HttpCall) -> None:
        journal = Journal(state)
        store = open_store("s", LocalStore(path=str(root)), call, Undoing(journal, settle_s=0))
        stored = await store.put("k", Bytes(b"x"))
        store.report(stored)
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_write", full)
            store.keep(stored)
        os.close(journal._fd)  # what SIGKILL does: the lock goes, the file stays
        journal._fd = -1
        found = await recover_stores(state, {"s": store}, call, RetryPolicy())
        assert found == Recovery(reported=1)
        assert (root / "k").exists()
        await store.close()

    run(main)
