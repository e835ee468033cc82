"""What answers mean, and that no signature reaches a log."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import Retry, StorageFault, StoreMismatch, StoreRefused, StoreUnavailable
from fastproxy.storage import s3xml
from fastproxy.storage.sender import (
    HttpCall,
    NotThere,
    SignatureExpired,
    etag_of,
    excerpt_of,
    fault_of,
    redacted,
    send,
)
from fastproxy.upstream.client import Answer
from tests.storage.bodies import Bytes, pattern, run
from tests.storage.fake_s3 import FakeS3


@pytest.mark.parametrize(
    ("status", "code", "message", "fault", "retry"),
    [
        (500, "InternalError", "", StoreUnavailable, Retry.SAFE),
        (503, "SlowDown", "", StoreUnavailable, Retry.SAFE),
        (503, "", "", StoreUnavailable, Retry.SAFE),
        (429, "", "", StoreUnavailable, Retry.SAFE),
        (400, "RequestTimeout", "", StoreUnavailable, Retry.SAFE),
        (200, "InternalError", "", StoreUnavailable, Retry.SAFE),
        (403, "AccessDenied", "Request has expired", SignatureExpired, Retry.SAFE),
        (400, "ExpiredToken", "", SignatureExpired, Retry.SAFE),
        (400, "BadDigest", "", StoreMismatch, Retry.SAFE),
        (403, "AccessDenied", "Access Denied", StoreRefused, Retry.NO),
        (403, "SignatureDoesNotMatch", "", StoreRefused, Retry.NO),
        (404, "NoSuchUpload", "", NotThere, Retry.NO),
        (404, "NoSuchBucket", "", StoreRefused, Retry.NO),
        (501, "NotImplemented", "", StoreRefused, Retry.NO),
        (400, "EntityTooLarge", "", StoreRefused, Retry.NO),
        (302, "", "", StoreRefused, Retry.NO),
    ],
)
def test_every_answer_has_its_fault(
    status: int, code: str, message: str, fault: type[StorageFault], retry: Retry
) -> None:
    found = fault_of("PUT x", status, code, message)
    assert isinstance(found, fault)
    assert found.retry is retry


def test_a_detail_holds_neither_query_nor_what_the_store_quotes() -> None:
    assert redacted("https://u:p@host:9/a/b?X-Amz-Signature=s#f") == "https://host:9/a/b"
    assert "secret" not in fault_of("PUT x", 403, "AccessDenied", "secret").detail


@pytest.mark.parametrize("raw", [b'"abc"', b"abc", b'W/"abc"', b' "abc" '])
def test_an_etag_comes_without_its_quotes(raw: bytes) -> None:
    assert etag_of([(b"X", b"y"), (b"ETag", raw)]) == "abc"


def test_an_error_document_is_read_with_and_without_namespace() -> None:
    plain = s3xml.parse(b"  \n<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>")
    spaced = s3xml.parse(b'<Error xmlns="urn:x"><Code>SlowDown</Code></Error>')
    assert plain.code == spaced.code == "SlowDown"
    assert s3xml.parse(b"<Other><Code>SlowDown</Code></Other>").code == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"oops",
        b"<html>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Error><Code>&a;</Code></Error>',
        '<?xml version="1.0" encoding="utf-16"?><Error/>'.encode("utf-16-le"),
        b"<?xml version='1.0' encoding='nope'?><Error/>",
        b"<a>" * 100_000,
    ],
)
def test_what_is_no_document_is_empty(body: bytes) -> None:
    assert s3xml.parse(body) == s3xml.Document()


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(body: bytes) -> None:
    s3xml.parse(body)
    s3xml.parse(b"<" + body)


XML_TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=30)


@given(st.dictionaries(st.integers(1, 10_000), XML_TEXT, min_size=1))
def test_a_completion_lists_parts_in_order_whatever_the_etags_hold(etags: dict[int, str]) -> None:
    from xml.etree import ElementTree as ET

    try:
        root = ET.fromstring(s3xml.completion(etags.items()))
    except ET.ParseError:  # characters XML has no way to write; no ETag header has them
        assert any(not c.isprintable() for etag in etags.values() for c in etag)
        return
    rows = [(int(row[0].text or ""), row[1].text or "") for row in root]
    assert rows == sorted(etags.items())


@pytest.mark.parametrize("claimed", [1, 99, 101, 262_143, 262_145])
def test_a_body_of_another_size_than_it_claims_is_never_stored(claimed: int) -> None:
    """The store must neither wait for more nor read the rest as the next request."""
    data = pattern(100 if claimed < 1000 else 262_144)
    body = Bytes(data, step=10_000)
    body.size = claimed

    async def main(call: HttpCall) -> None:
        async with FakeS3().serve() as fake:
            with pytest.raises(StoreMismatch, match=str(claimed)):
                await send(call, "PUT", fake.url("k"), [], body, timeout_s=5)
            honest = Bytes(b"next")
            await send(call, "PUT", fake.url("next"), [], honest, timeout_s=5)
            assert {key: body for key, (body, _) in fake.objects.items()} == {"next": b"next"}

    run(main)


def test_what_a_store_has_not_read_it_has_not_stored() -> None:
    """It answers in the middle; whoever believed it would report an object that is not there."""

    async def early(method: str, url: str, *, body: Any, **more: Any) -> Answer:
        await anext(body.chunks())
        return Answer(200, [(b"ETag", b'"t"')], b"")

    async def main() -> None:
        with pytest.raises(StoreMismatch, match="200 with 60 bytes unread"):
            await send(early, "PUT", "http://a/k", [], Bytes(bytes(100), step=10), timeout_s=5)

    asyncio.run(main())


def part(told: str, body: bytes = b"cd") -> Answer:
    return Answer(206, [(b"Content-Range", told.encode()), (b"ETag", b'"t"')], body)


def test_a_part_of_an_object_is_the_one_that_was_asked_for() -> None:
    some = excerpt_of(part("bytes 2-3/9"), 2, 2)
    assert (some.data, some.size, some.etag) == (b"cd", 9, "t")
    last = excerpt_of(part("bytes 7-8/9"), 7, 100)
    assert last.data == b"cd"
    assert excerpt_of(Answer(200, [], b"abcd"), 1, 2).data == b"bc"  # the range was ignored


@pytest.mark.parametrize(
    ("told", "body"),
    [
        *(("bytes 0-1/9", b"cd"), ("bytes 2-3/9", b"c"), ("bytes 2-3/9", b"cde")),
        *(("bytes 2-3/*", b"cd"), ("", b"cd"), ("bytes */9", b"cd")),
        ("bytes 2-3/" + "9" * 5000, b"cd"),
    ],
)
def test_another_part_is_a_mismatch(told: str, body: bytes) -> None:
    with pytest.raises(StoreMismatch):
        excerpt_of(part(told, body), 2, 2)
