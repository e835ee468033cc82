"""Stores made of the backend's URLs."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from fastproxy.errors import (
    BadAuthorizeAnswer,
    StorageFault,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
)
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_presigned
from fastproxy.storage.presigned import PresignedTarget
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from tests.storage.bodies import Bytes, cut, pattern, run
from tests.storage.fake_s3 import FakeS3, Reply, Reset, error

PART = 100_000
FAST = RetryPolicy(attempts=3, timeout_s=0.6, deadline_s=20, base_s=0.001)
SECRET = "geheim"


def single(fake: FakeS3) -> PresignedTarget:
    return PresignedTarget(
        put_url=fake.url("k"),
        get_url=fake.url("k"),
        delete_url=fake.url("k"),
        headers=((b"x-custom", b"1"),),
    )


def multipart(fake: FakeS3, parts: int = 3) -> PresignedTarget:
    fake.uploads["u"] = ("k", {}, {})
    query = f"uploadId=u&X-Amz-Signature={SECRET}"
    return PresignedTarget(
        get_url=fake.url("k"),
        delete_url=fake.url("k"),
        part_size=PART,
        part_urls=tuple(fake.url("k", f"partNumber={i + 1}&{query}") for i in range(parts)),
        complete_url=fake.url("k", query),
        abort_url=fake.url("k", query),
    )


def check(
    target: Callable[[FakeS3], PresignedTarget],
    body: Callable[[FakeS3, TrackedStore], Awaitable[None]],
) -> None:
    async def main(call: HttpCall) -> None:
        async with FakeS3().serve() as fake:
            store = open_presigned(target(fake), call, Undoing(Journal()), FAST)
            await body(fake, store)
            await store.close()

    run(main)


def test_one_put_carries_exactly_the_headers_given() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        await store.put("ignored", Bytes(b"abc"), content_type="text/html")
        sent = fake.requests[0].headers
        assert sent["x-custom"] == "1"
        assert set(sent) == {"host", "content-length", "x-custom"}
        assert fake.requests[-1].headers["range"] == "bytes=0-0"

    check(single, body)


def test_an_expired_url_is_refused_at_once_and_its_query_hidden() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [error(403, "AccessDenied", "Request has expired")]
        with pytest.raises(StoreRefused) as caught:
            await store.put("k", Bytes(b"abc"))
        assert fake.count("put") == 1
        cause: BaseException | None = caught.value
        while cause is not None:
            assert SECRET not in str(cause)
            cause = cause.__cause__

    check(single, body)


def test_a_single_put_that_failed_is_deleted() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["put"] = [Reset(acts=True)] * 3
        with pytest.raises(StoreUnavailable):
            await store.put("k", Bytes(b"abc"))
        await store.close()
        assert fake.objects == {}

    check(single, body)


def test_a_truncated_object_is_a_mismatch() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["get"] = [Reply(206, b"a", {"content-range": "bytes 0-0/2"})]
        with pytest.raises(StoreMismatch, match="has 2"):
            await store.put("k", Bytes(b"abc"))

    check(single, body)


def test_no_multipart_upload_without_part_urls() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        assert store.needs.max_parts == 1
        with pytest.raises(StoreRefused):
            await store.begin("k")

    check(single, body)


def test_parts_are_completed_in_order_with_their_etags() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        data = pattern(2 * PART + 5)
        upload = await store.begin("k", size=len(data))
        await asyncio.gather(*(upload.put_part(part) for part in reversed(cut(data, PART))))
        await upload.complete(len(data))
        assert fake.objects["k"][0] == data
        listed = next(r for r in fake.requests if r.kind == "complete")
        assert listed.headers["content-type"] == "application/xml"
        numbers = listed.body.split(b"<PartNumber>")[1:]
        assert [n[:1] for n in numbers] == [b"1", b"2", b"3"]

    check(multipart, body)


def test_a_small_body_is_a_multipart_upload_of_one_part() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        await store.put("k", Bytes(b"abc"))
        assert fake.objects["k"][0] == b"abc"
        assert fake.uploads == {}

    check(multipart, body)


def test_a_small_body_that_fails_aborts_the_upload() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["part"] = [error(403, "AccessDenied")]
        with pytest.raises(StoreRefused):
            await store.put("k", Bytes(b"abc"))
        await store.close()
        assert fake.uploads == {}

    check(multipart, body)


@pytest.mark.parametrize(
    "part",
    [
        Bytes(b"x" * PART, 4, 3 * PART),
        Bytes(b"x", 0, 0),
        Bytes(b"x" * (PART + 1), 1, 0),
        Bytes(b"x" * PART, 2, PART - 1),
    ],
    ids=["no URL", "number 0", "too large", "not at its place"],
)
def test_a_part_that_does_not_fit_its_url_is_refused(part: Bytes) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        upload = await store.begin("k")
        with pytest.raises(StoreRefused):
            await upload.put_part(part)
        assert fake.requests == []

    check(multipart, body)


def test_a_size_over_all_parts_is_refused_before_a_byte_is_sent() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        assert store.needs.max_object == 3 * PART
        with pytest.raises(StoreRefused):
            await store.begin("k", size=3 * PART + 1)

    check(multipart, body)


LATE = {
    "an error inside 200": error(200, "InternalError"),
    "an error without a code inside 200": Reply(200, b"<Error/>"),
    "a 503": Reply(503),
    "a reset": Reset(),
    "a lost answer": Reset(acts=True),
}


@pytest.mark.parametrize("plan", LATE.values(), ids=LATE)
def test_complete_is_asked_again(plan: Reply | Reset) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["complete"] = [plan]
        upload = await store.begin("k")
        await upload.put_part(Bytes(b"abc"))
        assert (await upload.complete(3)).size == 3
        assert fake.objects["k"][0] == b"abc"

    check(multipart, body)


@pytest.mark.parametrize("answer", [b"", b"<html/>", b"<Error><Code>AccessDenied</Code></Error>"])
def test_any_other_answer_to_complete_is_a_fault(answer: bytes) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        fake.plans["complete"] = [Reply(200, answer)]
        upload = await store.begin("k")
        await upload.put_part(Bytes(b"abc"))
        with pytest.raises(StorageFault):
            await upload.complete(3)
        assert fake.count("complete") == 1
        await upload.abort()
        assert fake.uploads == {}

    check(multipart, body)


GOOD = PresignedTarget(put_url="https://h/k")


@pytest.mark.parametrize(
    "changes",
    [
        {"put_url": ""},
        {"put_url": "ftp://h/k"},
        {"put_url": "/k"},
        {"put_url": "http://h:0/k"},
        {"put_url": "http://h:x/k"},
        {"put_url": "http://h/a b"},
        {"put_url": "http://h/a\r\nX: y"},
        {"put_url": "http://h/é"},
        {"get_url": "nonsense"},
        {"part_size": 5},
        {"part_size": -1, "part_urls": ("http://h/1",), "complete_url": "http://h/"},
        {"part_size": 6 << 30, "part_urls": ("http://h/1",), "complete_url": "http://h/"},
        {"part_urls": ("http://h/1",)},
    ],
)
def test_a_target_that_cannot_work_is_a_bad_answer(changes: dict[str, object]) -> None:
    with pytest.raises(BadAuthorizeAnswer):
        replace(GOOD, **changes)  # type: ignore[arg-type]


CHANGED: dict[str, tuple[bytes, bytes, bool]] = {
    "ours": (b"abc", b"abc", True),
    "another": (b"abc", b"xyz", False),
    "an empty one of ours": (b"", b"", True),
    "an empty one in its place": (b"abc", b"", False),
}


@pytest.mark.parametrize(("sent", "found", "goes"), CHANGED.values(), ids=CHANGED)
def test_a_refused_object_is_known_by_its_etag(sent: bytes, found: bytes, goes: bool) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        stored = await store.put("k", Bytes(sent))
        fake.objects["k"] = (found, {})
        await store.drop(stored)
        assert ("k" not in fake.objects) == goes

    check(single, body)


def test_without_a_get_url_nobody_can_tell_and_what_is_there_goes() -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        stored = await store.put("k", Bytes(b"abc"))
        assert fake.count("get") == 0  # nor is the size confirmed
        fake.objects["k"] = (b"xyz", {})
        await store.drop(stored)
        assert fake.objects == {}

    check(lambda fake: replace(single(fake), get_url=""), body)


@pytest.mark.parametrize("status", [403, 503])
def test_an_object_that_cannot_be_looked_at_is_left(status: int) -> None:
    async def body(fake: FakeS3, store: TrackedStore) -> None:
        stored = await store.put("k", Bytes(b"abc"))
        fake.plans["get"] = [error(status, "")] * 99
        await store.drop(stored)
        assert fake.count("delete") == 0
        fake.plans["get"].clear()

    check(single, body)
