"""S3 that fails on the way: what is retried, what is reported, what is left."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config import schema
from fastproxy.errors import (
    StorageFault,
    StoreMismatch,
    StoreRefused,
    StoreTimeout,
    StoreUnavailable,
)
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Journal
from fastproxy.storage.s3 import S3Store
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from tests.storage.bodies import Bytes, pattern, run
from tests.storage.fake_s3 import BUCKET, FakeS3, Plan, Reply, Reset, Stall, error

DATA = pattern(300_000)
LEFT = Leftover("k", Stage.STORED, 0.0, "w")
FAST = RetryPolicy(attempts=3, timeout_s=0.6, deadline_s=20, base_s=0.001)
Body = Callable[[FakeS3, TrackedStore], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    """Run a test body against a fake S3 and a store opened on it."""

    def start(body: Body, policy: RetryPolicy = FAST, **more: Any) -> None:
        async def main(call: HttpCall) -> None:
            async with FakeS3().serve() as fake:
                config = fake.config(tmp_path, **more)
                undoing = Undoing(Journal(), settle_s=0)
                store = TrackedStore("s", S3Store(config, call, policy), undoing, policy=policy)
                try:
                    await body(fake, store)
                finally:
                    await store.close()

        run(main)

    return start


TRANSIENT = {
    "500": error(500, "InternalError"),
    "slow down": error(503, "SlowDown"),
    "429": Reply(429),
    "bad gateway without XML": Reply(502, b"<html>nope"),
    "expired": error(403, "AccessDenied", "Request has expired"),
    "reset before the body": Reset(0),
    "reset in the body": Reset(1000),
    "reset after it was stored": Reset(acts=True),
    "stall": Stall(),
}


@pytest.mark.parametrize("plan", TRANSIENT.values(), ids=TRANSIENT)
def test_a_put_is_sent_again(check: Callable[..., None], plan: Any) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [plan]
        part = Bytes(DATA)
        assert (await store.put("k", part)).size == len(DATA)
        assert fake.objects["k"][0] == DATA
        assert part.reads == fake.count("put") == 2
        signatures = {r.query["X-Amz-Expires"] for r in fake.requests if r.kind == "put"}
        assert signatures == {"3600"}

    check(body)


@pytest.mark.parametrize("plan", TRANSIENT.values(), ids=TRANSIENT)
def test_a_part_is_sent_again(check: Callable[..., None], plan: Any) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["part"] = [plan]
        upload = await store.begin("k", content_type="text/css")
        await upload.put_part(Bytes(DATA))
        assert (await upload.complete(len(DATA))).size == len(DATA)
        assert fake.objects["k"][0] == DATA

    check(body)


def test_a_refusal_is_not_repeated_and_hides_the_signature(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [error(403, "AccessDenied", "no")]
        with pytest.raises(StoreRefused) as caught:
            await store.put("k", Bytes(DATA))
        assert fake.count("put") == 1
        assert "AccessDenied" in caught.value.detail
        assert "X-Amz" not in caught.value.detail

    check(body)


def test_a_store_that_stays_busy_is_unavailable(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [error(503, "SlowDown")] * 9
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await store.put("k", Bytes(DATA))
        assert fake.count("put") == 3

    check(body)


def test_the_deadline_is_a_timeout(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [Stall()]
        with pytest.raises(StoreTimeout):
            await store.put("k", Bytes(DATA))

    check(body, RetryPolicy(attempts=2, timeout_s=30, deadline_s=0.5))


def test_nobody_listens(tmp_path: Path) -> None:

    async def main(call: HttpCall) -> None:
        config = FakeS3().config(tmp_path, endpoint="http://127.0.0.1:1")
        store = S3Store(config, call, FAST)
        for attempt in (store.put("k", Bytes(b"x")), store.begin("k"), store.undo(LEFT)):
            with pytest.raises(StoreUnavailable):
                await attempt
        await store.close()

    run(main)


def test_a_wrong_size_is_a_mismatch_and_the_object_goes(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        real_act = fake._act

        def cut_short(request: Any) -> Reply:
            reply = real_act(request)
            if request.kind == "put":
                data, meta = fake.objects["k"]
                fake.objects["k"] = (data[:-1], meta)
            return reply

        fake._act = cut_short  # type: ignore[method-assign]
        with pytest.raises(StoreMismatch, match="299999"):
            await store.put("k", Bytes(DATA))
        await store.close()
        assert fake.objects == {}

    check(body)


def test_a_wrong_etag_is_a_mismatch_when_md5_is_asked_for(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [Reply(headers={"etag": '"0"'})] * 3
        with pytest.raises(StoreMismatch):
            await store.put("k", Bytes(DATA))
        assert fake.count("put") == 3  # damage on the way is worth another try
        await store.put("k", Bytes(DATA))
        put = fake.requests[-1]
        assert put.kind == "put"  # the checksum is the confirmation, nothing to look up
        assert put.headers["content-md5"]
        assert "content-md5" in put.query["X-Amz-SignedHeaders"]

    check(body, checksum="md5")


def test_a_store_without_checksums_is_found_out(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        with pytest.raises(StoreMismatch, match='"sha256"'):
            await store.put("k", Bytes(DATA))
        await store.close()
        assert fake.objects == {}

    check(body, checksum="sha256")


LATE: dict[str, Plan] = {
    "an error inside 200": error(200, "InternalError", "We encountered an internal error."),
    "a plain 500": error(500, "InternalError"),
    "a reset": Reset(),
}


@pytest.mark.parametrize("plan", LATE.values(), ids=LATE)
def test_complete_is_asked_again(check: Callable[..., None], plan: Any) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["complete"] = [plan]
        upload = await store.begin("k")
        await upload.put_part(Bytes(DATA))
        await upload.complete(len(DATA))
        assert fake.count("complete") == 2
        assert fake.objects["k"][0] == DATA

    check(body)


def test_an_error_inside_200_that_stays_is_an_error(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["complete"] = [LATE["an error inside 200"]] * 3
        upload = await store.begin("k")
        await upload.put_part(Bytes(DATA))
        with pytest.raises(StoreUnavailable):
            await upload.complete(len(DATA))
        await upload.abort()
        assert fake.uploads == {}
        assert fake.objects == {}

    check(body)


def test_a_lost_answer_to_complete_is_found_by_its_object(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["complete"] = [Reset(acts=True)]
        upload = await store.begin("k")
        await upload.put_part(Bytes(DATA))
        stored = await upload.complete(len(DATA))
        assert stored.size == len(DATA)
        assert fake.count("complete") == 2

    check(body)


def test_somebody_elses_object_is_not_taken_for_ours(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        upload = await store.begin("k")
        await upload.put_part(Bytes(DATA))
        fake.objects["k"] = (DATA, {"x-amz-meta-fastproxy-write": "another"})
        fake.uploads.clear()
        fake.plans["complete"] = [Reset()]
        with pytest.raises(StoreRefused):
            await upload.complete(len(DATA))
        await upload.abort()
        assert fake.objects["k"][0] == DATA

    check(body)


def test_an_upload_that_somebody_aborted_is_refused(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        upload = await store.begin("k")
        fake.uploads.clear()
        with pytest.raises(StoreRefused, match="NoSuchUpload"):
            await upload.put_part(Bytes(DATA))
        await upload.abort()

    check(body)


def test_a_put_that_takes_effect_after_it_was_given_up_is_removed(
    check: Callable[..., None],
) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [Reset()] * 3
        fake.plans["get"] = [error(404, "NoSuchKey")]
        with pytest.raises(StoreUnavailable):
            await store.put("k", Bytes(DATA))
        sent = fake.requests[0].headers["x-amz-meta-fastproxy-write"]
        fake.objects["k"] = (DATA, {"x-amz-meta-fastproxy-write": sent})
        await store.close()
        assert fake.count("get") == 2
        assert fake.objects == {}

    check(body)


@pytest.mark.parametrize("damage", [False, True])
def test_an_empty_object_is_confirmed_and_removed_like_any_other(
    check: Callable[..., None], damage: bool
) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        if damage:
            fake.plans["head"] = [error(403, "AccessDenied")]
            with pytest.raises(StoreRefused):
                await store.put("k", Bytes(b""))
        else:
            assert (await store.put("k", Bytes(b""))).size == 0
        await store.close()
        assert fake.objects.keys() == (set() if damage else {"k"})

    check(body)


def test_a_cancelled_put_that_was_stored_is_removed(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        asked = asyncio.Event()
        real_read = fake._read

        def note_the_look(key: str, request: Any) -> Reply:
            asked.set()
            return real_read(key, request)

        fake._read = note_the_look  # type: ignore[method-assign]
        task = asyncio.create_task(store.put("k", Bytes(DATA)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.close()
        assert fake.objects == {}

    check(body)


def test_a_body_that_fails_is_not_taken_for_the_store(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        class Failing(Bytes):
            async def chunks(self):  # type: ignore[no-untyped-def]
                self.reads += 1
                yield [memoryview(self.data)[:10]]
                raise OSError("spill")

        part = Failing(DATA)
        with pytest.raises(OSError, match="spill"):
            await store.put("k", part)
        assert part.reads == 1

    check(body)


def test_missing_credentials_are_a_refusal(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    async def main(call: HttpCall) -> None:
        store = S3Store(schema.S3Store(bucket=BUCKET, endpoint="http://127.0.0.1:1"), call, FAST)
        with pytest.raises(StorageFault, match="credentials"):
            await store.put("k", Bytes(b"x"))
        await store.close()

    run(main)


REFUSALS = {
    "does not know If-Match": (error(501, "NotImplemented"), 2),
    "has another object by now": (error(412, "PreconditionFailed"), 1),
    "has none any more": (error(404, "NoSuchKey"), 1),
}


@pytest.mark.parametrize(("answer", "asked"), REFUSALS.values(), ids=REFUSALS)
def test_removing_from_a_store_that(check: Callable[..., None], answer: Reply, asked: int) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        stored = await store.put("k", Bytes(DATA))
        fake.plans["delete"] = [answer]
        await store.drop(stored)
        assert fake.count("delete") == asked
        first = next(request for request in fake.requests if request.kind == "delete")
        assert first.headers["if-match"] == f'"{stored.etag}"'
        assert ("k" in fake.objects) == (asked == 1)

    check(body)


def test_what_is_under_the_key_by_now_is_not_removed(check: Callable[..., None]) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        stored = await store.put("k", Bytes(DATA))
        fake.objects["k"] = (DATA, {"x-amz-meta-fastproxy-write": "another"})
        await store.drop(stored)
        assert fake.count("delete") == 0

    check(body)
