"""The control plane of S3 over aioboto3: credentials, signatures, multipart uploads. No bytes.

One client, made when first needed. Every exception of botocore ends here as a StorageFault.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import aioboto3
from aiobotocore.config import AioConfig
from botocore import exceptions as boto

from fastproxy.config import schema
from fastproxy.config.secrets import BadSecret, read_credential
from fastproxy.errors import StorageFault, StoreRefused, StoreUnavailable
from fastproxy.message import Headers
from fastproxy.storage.sender import fault_of
from fastproxy.storage.sigv4 import ALGORITHM, AccessKey, Presigner

SIGNATURE_LIFE_S = 3600  # signed anew for each attempt; covers one attempt on a slow line


@dataclass(frozen=True, slots=True)
class Pending:
    """A multipart upload that the store has and nobody completed. `since` in Unix seconds."""

    upload_id: str
    since: float


class S3Control:
    """Operations on the keys of one bucket. All raise StorageFault and nothing else."""

    def __init__(self, config: schema.S3Store) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._credentials: Any = None
        self._presigner: Presigner | None = None
        self._opening = asyncio.Lock()

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
        await self._open()
        assert self._presigner is not None  # noqa: S101 - _open() made it
        with faults("refresh credentials"):
            frozen = await self._credentials.get_frozen_credentials()
        access = AccessKey(frozen.access_key, frozen.secret_key, frozen.token or "")
        return self._presigner.url(
            method, key, query, headers, access, datetime.now(UTC), SIGNATURE_LIFE_S
        )

    async def close(self) -> None:
        """Close the client's connections."""
        self._client = None
        await self._stack.aclose()

    async def _ask(self, operation: str, **params: Any) -> dict[str, Any]:
        client = await self._open()
        with faults(f"{operation} s3://{self._config.bucket}/{params.get('Key', '')}"):
            answer: dict[str, Any] = await getattr(client, operation)(
                Bucket=self._config.bucket, **params
            )
        return answer

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                with faults("open the S3 client"):
                    await self._connect()
        return self._client

    async def _connect(self) -> None:
        session = _session(self._config)
        self._credentials = await session.get_credentials()
        if self._credentials is None:
            raise boto.NoCredentialsError
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(_client(self._config, session))
            self._presigner = await _presigner(client, self._config.bucket)
            self._stack, self._client = stack.pop_all(), client


async def _presigner(client: Any, bucket: str) -> Presigner:
    """Let botocore's endpoint rules say once where the bucket is, and in which region."""
    url = await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    base, _, query = url.partition("?")
    asked = dict(parse_qsl(query))
    _, _, region, service, _ = asked["X-Amz-Credential"].rsplit("/", 4)
    if asked["X-Amz-Algorithm"] != ALGORITHM or service != "s3" or not base.endswith("/k"):
        raise StoreRefused(f'bucket "{bucket}" needs signatures we do not know ({service})')
    return Presigner(base.removesuffix("k"), region)


def _session(config: schema.S3Store) -> Any:  # the stubs take its coroutines for values
    return aioboto3.Session(
        aws_access_key_id=_secret(config.access_key_file),
        aws_secret_access_key=_secret(config.secret_key_file),
        region_name=config.region,
    )


def _client(config: schema.S3Store, session: Any) -> Any:
    return session.client(
        "s3",
        endpoint_url=config.endpoint or None,
        verify=config.ca_file or None,  # None: verify with the system's certificates
        config=_client_config(config),
    )


def _client_config(config: schema.S3Store) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        # newer defaults send checksums that many S3 lookalikes refuse
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": 1},  # persist() does it
        connect_timeout=min(10.0, config.timeout),
        read_timeout=config.timeout,
        max_pool_connections=config.connections,
        s3={"addressing_style": _addressing(config)},
    )


def _addressing(config: schema.S3Store) -> str:
    """`auto`: bucket as a host name at Amazon, in the path everywhere else."""
    if config.addressing != "auto":
        return config.addressing
    return "path" if config.endpoint and "amazonaws.com" not in config.endpoint else "virtual"


def _secret(path: str) -> str | None:
    if not path:
        return None
    try:
        return read_credential(path)
    except BadSecret as error:
        raise StoreRefused(f"key file: {error.detail}") from error


def _unix(when: datetime | None) -> float:
    return when.timestamp() if when else 0.0


@contextmanager
def faults(what: str) -> Iterator[None]:
    """Turn botocore's exceptions into StorageFault."""
    try:
        yield
    except boto.ClientError as error:
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise fault_of(what, status, told.get("Code", ""), told.get("Message", "")) from error
    except boto.SSLError as error:
        raise StorageFault(f"{what}: TLS: {error}") from error
    except (boto.HTTPClientError, boto.ConnectionError, TimeoutError, OSError) as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__}") from error
    except (boto.BotoCoreError, ValueError) as error:  # no credentials, a bad bucket name ...
        raise StoreRefused(f"{what}: {type(error).__name__}: {error}") from error
