"""One aioboto3 client for one bucket. Every exception of botocore ends here as a StorageFault.

Only s3control.py imports this, when a client is wanted and in a thread: it is the heaviest import.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl

import aioboto3
import aioboto3.s3.inject  # or a client imports it when it is made, in the event loop
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import exceptions as boto

from fastproxy.config import schema
from fastproxy.config.secrets import BadSecret, read_credential
from fastproxy.errors import StorageFault, StoreRefused, StoreUnavailable
from fastproxy.storage.descriptions import descriptions
from fastproxy.storage.sender import fault_of
from fastproxy.storage.sigv4 import ALGORITHM, AccessKey, Presigner


class S3Client:
    """A client and the credentials it uses. All raise StorageFault and nothing else."""

    def __init__(self, config: schema.S3Store) -> None:
        """Blocking: reads key files and what botocore knows of S3."""
        with faults("open the S3 client"):
            self._session = _session(config)
        self._config = config
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._credentials: Any = None
        self.presigner: Presigner

    async def connect(self) -> None:
        """Find credentials and make the client; no request is sent to the store."""
        with faults("open the S3 client"):
            self._credentials = await self._session.get_credentials()
            if self._credentials is None:
                raise boto.NoCredentialsError
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(_client(self._config, self._session))
                self.presigner = await _presigner(client, self._config.bucket)
                self._stack, self._client = stack.pop_all(), client

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        """One operation on the bucket: botocore's name and parameters, its answer."""
        with faults(f"{operation} s3://{self._config.bucket}/{params.get('Key', '')}"):
            answer: dict[str, Any] = await getattr(self._client, operation)(
                Bucket=self._config.bucket, **params
            )
        return answer

    async def access_key(self) -> AccessKey:
        """The credentials as they are now; they are refreshed when they must."""
        with faults("refresh credentials"):
            frozen = await self._credentials.get_frozen_credentials()
        return AccessKey(frozen.access_key, frozen.secret_key, frozen.token or "")

    async def close(self) -> None:
        """Close the client's connections."""
        await self._stack.aclose()


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
    session = AioSession()
    session.register_component("data_loader", descriptions())
    return aioboto3.Session(
        aws_access_key_id=_secret(config.access_key_file),
        aws_secret_access_key=_secret(config.secret_key_file),
        region_name=config.region,
        botocore_session=session,
    )


def _client(config: schema.S3Store, session: Any) -> Any:
    verify: str | bool | None = config.ca_file or None  # None: by the system's certificates
    if not config.tls_verify or config.endpoint.startswith("http://"):
        verify = False  # nor are the system's read, which stops the event loop for 20 ms
    return session.client(
        "s3",
        endpoint_url=config.endpoint or None,
        verify=verify,
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
