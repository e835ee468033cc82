"""Every kind of store, opened as the product opens it, each with a witness that is not ours."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastproxy.config import schema
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_presigned, open_store
from fastproxy.storage.presigned import PresignedTarget
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import http_client

MiB = 1 << 20
PART = 5 * MiB


@dataclass
class Rig:
    """A store under test, and somebody else's hands on its object.

    `read` gives the object or None, `write` replaces it; `rest` is what is unfinished anywhere.
    """

    store: TrackedStore
    journal: Journal
    key: str
    read: Callable[[], bytes | None]
    rest: Callable[[], list[str]]
    write: Callable[[bytes], object]


Opener = Callable[[Path, "Seaweed | None"], AbstractAsyncContextManager[Rig]]


@asynccontextmanager
async def local(tmp: Path, server: Seaweed | None) -> AsyncIterator[Rig]:
    root, key = tmp / "objects", "a/deep/key.bin"
    journal = Journal(str(tmp / "state"))
    async with http_client() as call:
        store = open_store("s", schema.LocalStore(path=str(root)), call, Undoing(journal))
        yield Rig(
            store,
            journal,
            key,
            lambda: (root / key).read_bytes() if (root / key).exists() else None,
            lambda: [str(p) for p in root.rglob("*") if p.is_file() and p.name != "lock"
                     and p != root / key],
            (root / key).write_bytes,
        )  # fmt: skip
        await store.close()
    journal.close()


@asynccontextmanager
async def s3(tmp: Path, server: Seaweed | None, **more: Any) -> AsyncIterator[Rig]:
    assert server is not None
    with _bucket(server) as (witness, bucket):
        journal = Journal(str(tmp / "state"))
        async with http_client() as call:
            config = s3_config(tmp, server, bucket, **more)
            store = open_store("s", config, call, Undoing(journal))
            key = "a/deep/key with ünicode?&.bin"
            yield _rig(store, journal, key, witness, bucket, config.prefix + key)
            await store.close()
        journal.close()


@asynccontextmanager
async def presigned_multipart(tmp: Path, server: Seaweed | None) -> AsyncIterator[Rig]:
    assert server is not None
    with _bucket(server) as (witness, bucket):
        key = "temp/1605-1-0001"
        target = multipart_target(witness, bucket, key, parts=5)
        async with _presigned(tmp, target, witness, bucket, key) as rig:
            yield rig


@asynccontextmanager
async def presigned_put(tmp: Path, server: Seaweed | None) -> AsyncIterator[Rig]:
    assert server is not None
    with _bucket(server) as (witness, bucket):
        key = "temp/1605-1-0002"
        target = put_target(witness, bucket, key)
        async with _presigned(tmp, target, witness, bucket, key) as rig:
            yield rig


def s3_config(tmp: Path, server: Seaweed, bucket: str, **more: Any) -> schema.S3Store:
    """Keys in files, as an operator would have them."""
    access, secret = tmp / "access", tmp / "secret"
    access.write_text(server.access_key + "\n")
    secret.write_text(server.secret_key + "\n")
    return schema.S3Store(
        bucket=bucket,
        endpoint=server.endpoint,
        region=server.region,
        prefix="pre/",
        access_key_file=str(access),
        secret_key_file=str(secret),
        part_size=schema.Size(PART),
        **more,
    )


def multipart_target(witness: Any, bucket: str, key: str, parts: int) -> PresignedTarget:
    """What Rails does while it authorizes an upload of unknown length."""
    where = {"Bucket": bucket, "Key": key}
    begun = {
        **where,
        "UploadId": witness.create_multipart_upload(**where)["UploadId"],
    }

    def url(operation: str, **params: Any) -> str:
        return str(witness.generate_presigned_url(operation, Params=params))

    return PresignedTarget(
        get_url=url("get_object", **where),
        delete_url=url("delete_object", **where),
        headers=(),
        part_size=PART,
        part_urls=tuple(url("upload_part", **begun, PartNumber=i + 1) for i in range(parts)),
        complete_url=url("complete_multipart_upload", **begun),
        abort_url=url("abort_multipart_upload", **begun),
        verify_md5=True,
    )


def put_target(witness: Any, bucket: str, key: str) -> PresignedTarget:
    """What Rails does for a known length."""
    where = {"Bucket": bucket, "Key": key}
    return PresignedTarget(
        put_url=witness.generate_presigned_url(
            "put_object", Params={**where, "ContentType": "application/octet-stream"}
        ),
        get_url=witness.generate_presigned_url("get_object", Params=where),
        delete_url=witness.generate_presigned_url("delete_object", Params=where),
    )


@asynccontextmanager
async def _presigned(
    tmp: Path, target: PresignedTarget, witness: Any, bucket: str, key: str
) -> AsyncIterator[Rig]:
    journal = Journal(str(tmp / "state"))
    async with http_client() as call:
        store = open_presigned(target, call, Undoing(journal))
        yield _rig(store, journal, key, witness, bucket, key)
        await store.close()
    journal.close()


def _rig(
    store: TrackedStore, journal: Journal, key: str, witness: Any, bucket: str, name: str
) -> Rig:
    def read() -> bytes | None:
        listed = witness.list_objects_v2(Bucket=bucket, Prefix=name).get("Contents", [])
        if not listed:
            return None
        return bytes(witness.get_object(Bucket=bucket, Key=name)["Body"].read())

    def rest() -> list[str]:
        uploads = witness.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [upload["UploadId"] for upload in uploads]

    def write(data: bytes) -> None:
        witness.put_object(Bucket=bucket, Key=name, Body=data)

    return Rig(store, journal, key, read, rest, write)


class _bucket:  # noqa: N801 - a context manager used as a function
    def __init__(self, server: Seaweed) -> None:
        self._witness = server.client()
        self._name = f"b-{secrets.token_hex(6)}"

    def __enter__(self) -> tuple[Any, str]:
        self._witness.create_bucket(Bucket=self._name)
        return self._witness, self._name

    def __exit__(self, *error: object) -> None:
        self._witness.close()
