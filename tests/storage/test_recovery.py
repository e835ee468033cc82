"""kill -9 of a process amid uploads to a real S3; the next start leaves no trace of them."""

import asyncio
import json
import secrets
from pathlib import Path

import pytest

from fastproxy.errors import StoreUnavailable
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store, recover_stores
from fastproxy.storage.sender import HttpCall
from tests.contract.stores import multipart_target, s3_config
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import run
from tests.support import child

CRASH = """
import asyncio, json, sys
from pathlib import Path
from fastproxy.config.schema import S3Store, Size
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_presigned, open_store
from fastproxy.storage.presigned import PresignedTarget
from tests.storage.bodies import Bytes, http_client

async def main(state, config, target):
    journal = Journal(state)
    async with http_client() as call:
        store = open_store("s", S3Store(**config), call, journal)
        upload = await store.begin("uploading")
        await upload.put_part(Bytes(b"x" * (5 << 20)))
        await store.put("stored", Bytes(b"x"))
        await store.put("kept", Bytes(b"x"))
        store.keep("kept")
        done = await store.begin("completed")
        await done.put_part(Bytes(b"x" * 10))
        await done.complete(10)
        target["part_urls"] = tuple(target["part_urls"])
        once = open_presigned(PresignedTarget(**target, headers=()), call, journal)
        presigned = await once.begin("presigned")
        await presigned.put_part(Bytes(b"x" * 10))
        print("ready", flush=True)
        await asyncio.Event().wait()

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

    assert keys() == ["pre/completed", "pre/kept", "pre/stored"]
    assert uploads() == 2

    async def main(call: HttpCall) -> None:
        store = open_store("s", config, call, Journal())
        found = await recover_stores(str(tmp_path), {"s": store}, call, RetryPolicy())
        assert (found.undone, found.kept, found.dropped) == (4, 0, 0)
        await store.close()

    run(main)
    assert keys() == ["pre/kept"]
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
        store = open_store("s", s3_config(tmp_path, seaweed, bucket), call, Journal())
        await store.undo(Leftover("lost", Stage.INTENT, since=began - 3600))
        await store.undo(Leftover("lost", Stage.INTENT, since=began + 3600))
        assert len(witness.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2
        await store.undo(Leftover("lost", Stage.INTENT, since=began - 2))
        await store.close()

    run(main)
    rest = witness.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [one["Key"] for one in rest] == ["pre/lost/other"]
    witness.close()


def test_what_went_to_another_place_is_not_undone_here(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("s", "s3:elsewhere", Leftover("k", Stage.STORED, since=9e12))
    journal.begin("gone", "s3:elsewhere", Leftover("k", Stage.STORED, since=9e12))
    journal.close()

    async def main(call: HttpCall) -> None:
        from fastproxy.config.schema import LocalStore

        store = open_store("s", LocalStore(path=str(tmp_path / "root")), call, Journal())
        found = await recover_stores(str(tmp_path), {"s": store}, call, RetryPolicy())
        assert (found.undone, found.kept) == (0, 2)
        await store.close()

    run(main)


def test_a_write_that_cannot_be_journalled_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastproxy.config.schema import LocalStore
    from fastproxy.storage import journal as journal_module
    from tests.storage.bodies import Bytes

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async def main(call: HttpCall) -> None:
        journal = Journal(str(tmp_path / "state"))
        store = open_store("s", LocalStore(path=str(tmp_path / "root")), call, journal)
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_write_line", full)
            with pytest.raises(StoreUnavailable):
                await store.put("k", Bytes(b"x"))
            with pytest.raises(StoreUnavailable):
                await store.begin("k")
        assert not (tmp_path / "root" / "k").exists()
        await store.put("k", Bytes(b"x"))
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_write_line", full)
            with pytest.raises(StoreUnavailable):  # or a crash would remove what others rely on
                store.keep("k")
        store.keep("k")
        await asyncio.sleep(0)
        await store.close()
        journal.close()

    run(main)
