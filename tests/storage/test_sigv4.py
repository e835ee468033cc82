"""Our presigned URLs are botocore's."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import boto3
import botocore.auth
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.storage.sigv4 import AccessKey, Presigner
from tests.support.examples import examples

NOW = datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 0, 0, 0, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


def theirs(access: AccessKey, now: datetime, method: str, params: dict[str, Any]) -> str:
    client = boto3.client(
        "s3",
        endpoint_url="http://store.example:8333",
        region_name="eu-central-1",
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        aws_session_token=access.token or None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
        ),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: now)
        with suppress(ImportError):  # with awscrt installed botocore signs with that
            patch.setattr("botocore.crt.auth.get_current_datetime", lambda **_: now)
        url = client.generate_presigned_url(
            method, Params={"Bucket": "bucket", **params}, ExpiresIn=900
        )
    client.close()
    return str(url)


def same(ours: str, other: str) -> None:
    path, _, query = ours.partition("?")
    other_path, _, other_query = other.partition("?")
    assert path == other_path
    assert dict(parse_qsl(query, True)) == dict(parse_qsl(other_query, True))


@examples(15)
@given(TEXT, VALUE, VALUE, VALUE, st.sampled_from(["", "tok/en+=="]), st.sampled_from([NOW, LATER]))
def test_a_put_is_signed_as_botocore_does(
    key: str, content_type: str, mark: str, secret: str, token: str, now: datetime
) -> None:
    access = AccessKey("AKID", secret, token)
    presigner = Presigner("http://store.example:8333/bucket/", "eu-central-1")
    headers = [
        (b"x-amz-meta-fastproxy-write", mark.encode()),
        (b"content-type", content_type.encode()),
    ]
    params = {"Key": key, "ContentType": content_type, "Metadata": {"fastproxy-write": mark}}
    for _ in range(2):  # the second time with the day's key known
        ours = presigner.url("PUT", key, {}, headers, access, now, 900)
        same(ours, theirs(access, now, "put_object", params))


@examples(15)
@given(TEXT, TEXT, st.integers(1, 10_000))
def test_a_part_is_signed_as_botocore_does(key: str, upload_id: str, number: int) -> None:
    access = AccessKey("AKID", "secret")
    presigner = Presigner("http://store.example:8333/bucket/", "eu-central-1")
    query = {"partNumber": str(number), "uploadId": upload_id}
    ours = presigner.url("PUT", key, query, [], access, NOW, 900)
    params = {"Key": key, "PartNumber": number, "UploadId": upload_id}
    same(ours, theirs(access, NOW, "upload_part", params))


def test_the_day_and_the_secret_are_part_of_the_signature() -> None:
    presigner = Presigner("http://h/b/", "r")
    urls = {
        presigner.url("GET", "k", {}, [], AccessKey("a", secret), now, 900)
        for now in (NOW, LATER, NOW)
        for secret in ("s", "t", "s")
    }
    assert len(urls) == 4
