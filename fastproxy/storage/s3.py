"""S3 as a store: aioboto3 decides and signs, our own HTTP connection carries the bytes."""

from typing import Any

from fastproxy.config import schema
from fastproxy.errors import StoreMismatch, StoreUnavailable
from fastproxy.storage.backoff import RetryPolicy, persist
from fastproxy.storage.bucket import Bucket, object_headers, object_params
from fastproxy.storage.checksum import AMZ_NAMES, hasher
from fastproxy.storage.contract import (
    REMOVABLE,
    UNFINISHED,
    Excerpt,
    Leftover,
    PartBody,
    Source,
    Stage,
    Stored,
    StoreNeeds,
)
from fastproxy.storage.sender import HttpCall, NotThere

CLOCK_SKEW_S = 60.0  # between the store's clock and ours
INTENT_WINDOW_S = 300.0  # how long a CreateMultipartUpload may have been on its way


class S3Store:
    """A bucket, or what is beneath a prefix of it."""

    def __init__(
        self, config: schema.S3Store, call: HttpCall, policy: RetryPolicy | None = None
    ) -> None:
        """Raises OwnFault when the configured checksum cannot be computed here."""
        if config.checksum != "none":
            hasher(config.checksum)
        policy = policy or RetryPolicy(attempts=config.attempts, timeout_s=config.timeout)
        self._config = config
        self._bucket = Bucket(config, call, policy)
        self._beginning: list[str] = []  # keys
        self._live: set[str] = set()  # upload ids
        self._needs = StoreNeeds(part_size=config.part_size, equal_parts=config.equal_parts)

    @property
    def needs(self) -> StoreNeeds:
        """The S3 API's limits and the configured first part size."""
        return self._needs

    @property
    def place(self) -> str:
        """Endpoint, bucket and prefix."""
        return f"s3:{self._config.endpoint}/{self._config.bucket}/{self._config.prefix}"

    async def prepare(self) -> None:
        """Make the control plane's client."""
        await self._bucket.control.open()

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """PutObject over a presigned URL, then a look at it unless a checksum was confirmed."""
        headers = object_headers(object_params(content_type, write_id, self._config))
        etag, checksums = await self._bucket.send_body(key, body, query={}, headers=headers)
        stored = Stored(key, body.size, etag, checksums=checksums)
        return stored if checksums else await self._bucket.verified(stored)

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> "S3Upload":
        """CreateMultipartUpload, once: when its answer is lost there may be an upload to abort."""
        params = object_params(content_type, write_id, self._config)
        if algorithm := AMZ_NAMES.get(self._config.checksum):
            params["ChecksumAlgorithm"] = algorithm
        bucket = self._bucket
        self._beginning.append(key)
        try:
            upload_id = await bucket.control.create(bucket.name(key), params)
        finally:
            self._beginning.remove(key)
        self._live.add(upload_id)
        return S3Upload(bucket, key, upload_id, write_id, self._live)

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """A GET of a range."""
        return await self._bucket.read(key, start, length)

    async def source(self, key: str, *, method: str = "GET") -> Source:
        """A signed URL; ranges and conditions may be asked for with it."""
        bucket = self._bucket
        return Source(url=await bucket.control.sign(method, bucket.name(key), {}, []))

    async def undo(self, left: Leftover) -> None:
        """Abort the upload; delete the object only if this write made it."""
        if left.upload_id and left.stage in UNFINISHED:
            await self._bucket.abort(left.key, left.upload_id)
        elif left.stage is Stage.INTENT:
            await self._abort_unknown(left)
        if left.stage in REMOVABLE:
            found = await self._bucket.find(left.key)
            if found is not None and found.write_id == left.write_id:
                await self._bucket.delete(left.key, found.etag)

    async def close(self) -> None:
        """Close the control plane's connections."""
        await self._bucket.control.close()

    async def _abort_unknown(self, left: Leftover) -> None:
        """Abort uploads of this key that began when ours did; other ones are not ours.

        Nor are those that this process knows. One whose id is on its way to us is not known yet.
        """
        bucket, name = self._bucket, self._bucket.name(left.key)
        self._require_none_beginning(left.key)
        found = await persist(lambda: bucket.control.pending(name), bucket.policy)
        self._require_none_beginning(left.key)
        for pending in found:
            is_near = -CLOCK_SKEW_S <= pending.since - left.since <= INTENT_WINDOW_S
            if is_near and pending.upload_id not in self._live:
                await bucket.abort(left.key, pending.upload_id)

    def _require_none_beginning(self, key: str) -> None:
        if key in self._beginning:
            raise StoreUnavailable(f"{key}: another upload is beginning")


class S3Upload:
    """One multipart upload."""

    def __init__(
        self, bucket: Bucket, key: str, upload_id: str, write_id: str, live: set[str]
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._write_id = write_id
        self._live = live
        self._parts: dict[int, dict[str, Any]] = {}
        self._sizes: dict[int, int] = {}
        self._was_asked = False

    @property
    def upload_id(self) -> str:
        """S3's id."""
        return self._upload_id

    async def put_part(self, body: PartBody) -> None:
        """UploadPart over a presigned URL, signed anew for each attempt."""
        query = {"uploadId": self._upload_id, "partNumber": str(body.number)}
        etag, checksums = await self._bucket.send_body(self._key, body, query=query, headers=[])
        if not etag:
            raise StoreMismatch(f"no ETag for part {body.number}")
        checksums.pop("ContentMD5", None)
        self._parts[body.number] = {"PartNumber": body.number, "ETag": etag, **checksums}
        self._sizes[body.number] = body.size

    async def complete(self, size: int) -> Stored:
        """CompleteMultipartUpload, then a look at the object."""
        if sum(self._sizes.values()) != size:
            raise StoreMismatch(f"{size} bytes expected, {sum(self._sizes.values())} in parts")
        etag = await persist(self._complete_once, self._bucket.policy)
        self._live.discard(self._upload_id)
        return await self._bucket.verified(Stored(self._key, size, etag))

    async def abort(self) -> None:
        """AbortMultipartUpload."""
        self._live.discard(self._upload_id)
        await self._bucket.abort(self._key, self._upload_id)

    async def _complete_once(self) -> str:
        parts = [self._parts[number] for number in sorted(self._parts)]
        was_asked, self._was_asked = self._was_asked, True
        name = self._bucket.name(self._key)
        try:
            return await self._bucket.control.complete(name, self._upload_id, parts)
        except NotThere:
            # an earlier attempt may have succeeded without our hearing of it
            found = await self._bucket.find(self._key) if was_asked else None
            if found is None or not self._write_id or found.write_id != self._write_id:
                raise
            return found.etag
