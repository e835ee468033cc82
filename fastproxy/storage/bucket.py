"""One S3 bucket over a signed URL an attempt: what S3Store and its uploads share."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct

from fastproxy.config import schema
from fastproxy.errors import StoreMismatch, StoreRefused
from fastproxy.message import Headers, find_header
from fastproxy.storage.backoff import RetryPolicy, persist
from fastproxy.storage.checksum import checksum_of
from fastproxy.storage.contract import Excerpt, PartBody, Stored
from fastproxy.storage.s3control import S3Control
from fastproxy.storage.sender import (
    FIRST_BYTE,
    HttpAnswer,
    HttpCall,
    NotThere,
    Replaced,
    UnsatisfiableRange,
    etag_of,
    excerpt_of,
    nothing_from,
    range_of,
    send,
    size_of,
)

WRITE_ID = "fastproxy-write"  # user metadata: which write made an object
_HEADERS = {
    "ContentType": b"content-type",
    "ServerSideEncryption": b"x-amz-server-side-encryption",
    "SSEKMSKeyId": b"x-amz-server-side-encryption-aws-kms-key-id",
}
ABORT_ROUNDS = 2  # a part that was still arriving outlives the first (S3 API, AbortMultipartUpload)


class Found(Struct, frozen=True):
    """An object as the store describes it; `write_id` empty: not written by us."""

    size: int
    etag: str
    write_id: str


class Bucket:
    """Operations on one bucket's keys, each retried by one policy. All raise StorageFault."""

    def __init__(self, config: schema.S3Store, call: HttpCall, policy: RetryPolicy) -> None:
        self.config = config
        self.control = S3Control(config)
        self.policy = policy
        self._call = call

    def name(self, key: str) -> str:
        """The key in the bucket."""
        return self.config.prefix + key

    async def send_body(
        self, key: str, body: PartBody, *, query: Mapping[str, str], headers: Headers
    ) -> tuple[str, dict[str, str]]:
        """PUT a body until it is stored: its ETag, and the checksums the store confirmed."""
        checksum = await checksum_of(self.config.checksum, body)
        signed = [*headers, *checksum.headers]

        async def attempt() -> str:
            answer = await self._send("PUT", key, query, signed, body)
            checksum.confirm(answer)
            return etag_of(answer.headers)

        return await persist(attempt, self.policy), checksum.params

    async def find(self, key: str) -> Found | None:
        """What is stored under a key, None when nothing is.

        A GET of the first byte, as Content-Range is more reliable than the Content-Length of HEAD,
        which SeaweedFS leaves out for empty objects.
        """
        try:
            return await persist(lambda: self._find_once(key), self.policy)
        except NotThere:
            return None

    async def _find_once(self, key: str) -> Found:
        try:
            answer = await self._send("GET", key, {}, FIRST_BYTE)
            size = size_of(answer)
        except UnsatisfiableRange:  # an empty object has no first byte
            answer, size = await self._send("HEAD", key, {}, []), 0
        write_id = find_header(answer.headers, b"x-amz-meta-" + WRITE_ID.encode()) or b""
        return Found(size, etag_of(answer.headers), write_id.decode("latin-1"))

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """See Store."""
        asked = range_of(start, length)

        async def attempt() -> Excerpt:
            return excerpt_of(await self._send("GET", key, {}, asked), start, length)

        try:
            return await persist(attempt, self.policy)
        except UnsatisfiableRange as fault:
            return nothing_from(start, fault)

    async def verified(self, stored: Stored) -> Stored:
        """Raises StoreMismatch when the store has another size."""
        found = await self.find(stored.key)
        if found is not None and found.size == stored.size:
            return stored
        size = "nothing" if found is None else f"{found.size} bytes"
        raise StoreMismatch(f"{stored.key}: {stored.size} bytes sent, the store has {size}")

    async def delete(self, key: str, etag: str) -> None:
        """DeleteObject, unless the object has been replaced by one of another ETag.

        A store that does not know If-Match deletes what is there, or refuses and is asked without.
        """
        name = self.name(key)
        with suppress(NotThere, Replaced):
            try:
                await persist(lambda: self.control.delete(name, etag), self.policy)
            except (NotThere, Replaced):
                raise
            except StoreRefused:
                await persist(lambda: self.control.delete(name), self.policy)

    async def abort(self, key: str, upload_id: str) -> None:
        """AbortMultipartUpload until the upload is gone."""
        with suppress(NotThere):
            for _ in range(ABORT_ROUNDS):
                await persist(lambda: self.control.abort(self.name(key), upload_id), self.policy)

    async def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Headers,
        body: PartBody | None = None,
    ) -> HttpAnswer:
        """One attempt with a fresh signature."""
        url = await self.control.sign(method, self.name(key), query, headers)
        return await send(self._call, method, url, headers, body, timeout_s=self.policy.timeout_s)


def object_params(content_type: str, write_id: str, config: schema.S3Store) -> dict[str, Any]:
    """Parameters of PutObject and CreateMultipartUpload.

    They are signed: a content type that is not plain ASCII is left out rather than guessed at.
    """
    params: dict[str, Any] = {"Metadata": {WRITE_ID: write_id}} if write_id else {}
    content_type = content_type.strip()
    if content_type and content_type.isascii() and content_type.isprintable():
        params["ContentType"] = content_type
    if config.encryption:
        params["ServerSideEncryption"] = config.encryption
    if config.kms_key:
        params["SSEKMSKeyId"] = config.kms_key
    return params


def object_headers(params: dict[str, Any]) -> Headers:
    """The same as headers of a PUT."""
    headers = [
        (f"x-amz-meta-{name}".encode(), value.encode())
        for name, value in params.get("Metadata", {}).items()
    ]
    for param, name in _HEADERS.items():
        if value := params.get(param):
            headers.append((name, value.encode()))
    return headers
