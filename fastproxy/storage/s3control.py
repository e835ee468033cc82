"""The control plane of S3: signatures and multipart uploads of one bucket. No bytes."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from fastproxy.config import schema
from fastproxy.message import Headers

if TYPE_CHECKING:
    from fastproxy.storage.s3client import S3Client

SIGNATURE_LIFE_S = 3600  # signed anew for each attempt; covers one attempt on a slow line


class Pending(Struct, frozen=True):
    """A multipart upload that the store has and nobody completed. `since` in Unix seconds."""

    upload_id: str
    since: float


class S3Control:
    """Operations on the keys of one bucket. All raise StorageFault and nothing else."""

    def __init__(self, config: schema.S3Store) -> None:
        self._config = config
        self._client: S3Client | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> "S3Client":
        """The client; the first call makes it, and others wait for that."""
        async with self._opening:
            if self._client is None:
                client = await asyncio.to_thread(_make_client, self._config)
                await client.connect()
                self._client = client
            return self._client

    async def create(self, key: str, params: dict[str, Any]) -> str:
        """Begin a multipart upload; its id."""
        answer = await self._ask("create_multipart_upload", Key=key, **params)
        return str(answer["UploadId"])

    async def complete(self, key: str, upload_id: str, parts: list[dict[str, Any]]) -> str:
        """Make the object of its parts; the ETag. An error inside a 200 answer is an error."""
        answer = await self._ask(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )
        return str(answer.get("ETag", "")).strip('"')

    async def abort(self, key: str, upload_id: str) -> None:
        """Drop a multipart upload and its parts. Raises NotThere."""
        await self._ask("abort_multipart_upload", Key=key, UploadId=upload_id)

    async def delete(self, key: str, etag: str = "") -> None:
        """Remove an object, if it has that ETag. Raises NotThere (most stores do not), Replaced."""
        condition = {"IfMatch": f'"{etag}"'} if etag else {}
        await self._ask("delete_object", Key=key, **condition)

    async def pending(self, key: str) -> list[Pending]:
        """Uncompleted multipart uploads of exactly this key (the first thousand)."""
        answer = await self._ask("list_multipart_uploads", Prefix=key)
        return [
            Pending(str(row["UploadId"]), _unix(row.get("Initiated")))
            for row in answer.get("Uploads", ())
            if row["Key"] == key
        ]

    async def sign(self, method: str, key: str, query: Mapping[str, str], headers: Headers) -> str:
        """A presigned URL; pure computing unless credentials have to be refreshed."""
        client = await self.open()
        access = await client.access_key()
        return client.presigner.url(
            method, key, query, headers, access, datetime.now(UTC), SIGNATURE_LIFE_S
        )

    async def close(self) -> None:
        """Close the client's connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ask(self, operation: str, **params: Any) -> dict[str, Any]:
        client = await self.open()
        return await client.ask(operation, **params)


def _make_client(config: schema.S3Store) -> "S3Client":
    # Imported here, in a thread, because it takes 300 ms of CPU and 21 MiB: a worker serves its
    # first clients before it is there, and one without an S3 store never pays for it.
    from fastproxy.storage.s3client import S3Client

    return S3Client(config)


def _unix(when: datetime | None) -> float:
    return when.timestamp() if when else 0.0
