"""What a store is asked to encrypt, it is asked for with every object, and signed."""

from pathlib import Path
from typing import Any

import pytest

from fastproxy.storage.s3 import S3Store
from fastproxy.storage.sender import HttpCall
from tests.storage.bodies import Bytes, pattern, run
from tests.storage.fake_s3 import FakeS3

SSE = "x-amz-server-side-encryption"
KMS = f"{SSE}-aws-kms-key-id"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"encryption": "AES256"}, {SSE: "AES256"}),
        ({"encryption": "aws:kms", "kms_key": "k-1"}, {SSE: "aws:kms", KMS: "k-1"}),
    ],
)
def test_every_object_is_asked_for_encrypted(
    tmp_path: Path, settings: dict[str, Any], expected: dict[str, str]
) -> None:
    async def main(call: HttpCall) -> None:
        async with FakeS3().serve() as fake:
            config = fake.config(tmp_path, **settings)
            store = S3Store(config, call)
            try:
                await store.put("one", Bytes(pattern(1000)))
                await (await store.begin("many")).abort()
            finally:
                await store.close()
            put, *_ = [each for each in fake.requests if each.method == "PUT"]
            begin, *_ = [each for each in fake.requests if "uploads" in each.query]
            for request in (put, begin):
                found = {
                    name: request.headers[name] for name in (SSE, KMS) if name in request.headers
                }
                assert found == expected
            assert all(name in put.query["X-Amz-SignedHeaders"] for name in expected)

    run(main)
