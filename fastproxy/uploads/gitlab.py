"""GitLab's answer to "may this upload happen, and where to", in our words.

Either `TempPath`, a directory beneath a local store of the route, or `RemoteObject`: URLs that
Rails has signed, or (UseWorkhorseClient) a key of an S3 bucket for which we have credentials
ourselves. Rails sends much more in the same object, so what is unknown is passed over.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fastproxy.asking import strict
from fastproxy.config.schema import AnyStore, LocalStore, S3Store, UploadRoute
from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.uploads.answer import Permission, PresignedAnswer, judged

_HASHES: Final = ("md5", "sha1", "sha256", "sha512")
_FILE_NAME: Final = "gitlab-workhorse-upload"  # then something random
_AWS: Final = ("aws", "s3")


class _Multipart(
    msgspec.Struct,
    frozen=True,
    rename={
        "part_size": "PartSize",
        "part_urls": "PartURLs",
        "complete_url": "CompleteURL",
        "abort_url": "AbortURL",
    },
):
    part_size: int = 0
    part_urls: tuple[str, ...] | None = None
    complete_url: str | None = None
    abort_url: str | None = None


class _Bucket(
    msgspec.Struct,
    frozen=True,
    rename={
        "bucket": "Bucket",
        "endpoint": "Endpoint",
        "encryption": "ServerSideEncryption",
        "kms_key": "SSEKMSKeyID",
    },
):
    bucket: str | None = None
    endpoint: str | None = None
    encryption: str | None = None
    kms_key: str | None = None


class _Storage(msgspec.Struct, frozen=True, rename={"provider": "Provider", "bucket": "S3Config"}):
    provider: str | None = None
    bucket: _Bucket | None = None


class _Remote(
    msgspec.Struct,
    frozen=True,
    rename={
        "id": "ID",
        "get_url": "GetURL",
        "delete_url": "DeleteURL",
        "store_url": "StoreURL",
        "is_kept": "SkipDelete",
        "has_headers": "CustomPutHeaders",
        "headers": "PutHeaders",
        "timeout": "Timeout",
        "multipart": "MultipartUpload",
        "has_own_client": "UseWorkhorseClient",
        "key": "RemoteTempObjectID",
        "storage": "ObjectStorage",
    },
):
    id: str | None = None
    get_url: str | None = None
    delete_url: str | None = None
    store_url: str | None = None
    is_kept: bool | None = False  # once it is stored: Rails will not move it
    has_headers: bool | None = False
    headers: dict[str, str] | None = None
    timeout: float | None = None
    multipart: _Multipart | None = None
    has_own_client: bool | None = False
    key: str | None = None
    storage: _Storage | None = None


class _Answer(
    msgspec.Struct,
    frozen=True,
    rename={
        "temp_path": "TempPath",
        "remote": "RemoteObject",
        "max_size": "MaximumSize",
        "hashes": "UploadHashFunctions",
        "lfs_oid": "LfsOid",
        "lfs_size": "LfsSize",
    },
):
    temp_path: str | None = None
    remote: _Remote | None = None
    max_size: int | None = None
    hashes: tuple[str, ...] | None = None
    lfs_oid: str | None = None
    lfs_size: int | None = None


_decode = strict(_Answer)


def read_gitlab(body: bytes, route: UploadRoute, stores: Mapping[str, AnyStore]) -> Permission:
    """The permission in an answer's body; `stores` are those of the route.

    Raises BadAuthorizeAnswer, which names the field.
    """
    answer = _decode(body)
    remote = answer.remote or _Remote()
    if bool(answer.temp_path) == bool(remote.id):
        raise BadAuthorizeAnswer("one of TempPath and RemoteObject.ID is needed, and not both")
    permission = Permission(
        id=remote.id or "",
        max_size=answer.max_size or None,
        hashes=tuple(name for name in answer.hashes or () if name in _HASHES) or _HASHES,
        expected={"sha256": answer.lfs_oid} if answer.lfs_oid else {},
        size=answer.lfs_size if answer.lfs_oid else None,
        timeout=remote.timeout or None,
        delete_after=not remote.is_kept,
    )
    return judged(_placed(permission, answer.temp_path, remote, stores), route)


def _placed(
    permission: Permission,
    temp_path: str | None,
    remote: _Remote,
    stores: Mapping[str, AnyStore],
) -> Permission:
    replace = msgspec.structs.replace
    if temp_path:
        name, key = _file(temp_path, stores)
        return replace(permission, store=name, key=key)
    if remote.has_own_client and (found := _bucket_key(remote, stores)):
        name, key = found
        return replace(permission, store=name, key=key)
    return replace(permission, presigned=_presigned(remote))


def _file(temp_path: str, stores: Mapping[str, AnyStore]) -> tuple[str, str]:
    """A new file in that directory: its store and key."""
    wanted = PurePath(os.path.normpath(temp_path))
    for name, store in stores.items():
        if not isinstance(store, LocalStore):
            continue
        for root in (os.path.abspath(store.path), os.path.realpath(store.path)):
            if wanted.is_relative_to(root):
                file = PurePath(wanted.relative_to(root), _FILE_NAME + secrets.token_hex(16))
                return name, str(file)
    raise BadAuthorizeAnswer(
        f"TempPath: {temp_path[:200]!r} is beneath no local store of the route"
    )


def _bucket_key(remote: _Remote, stores: Mapping[str, AnyStore]) -> tuple[str, str] | None:
    """The store that has the bucket, and the key there; None when Rails' own URLs must do.

    That is Workhorse's rule, too: without credentials for the bucket it falls back.
    """
    storage, key = remote.storage, remote.key
    bucket = storage.bucket if storage is not None else None
    if storage is None or bucket is None or not key:
        return None
    if (storage.provider or "").lower() not in _AWS:
        return None
    for name, store in stores.items():
        if isinstance(store, S3Store) and _is_same(store, bucket) and key.startswith(store.prefix):
            _require_encryption(name, store, bucket)
            return name, key.removeprefix(store.prefix)
    return None


def _is_same(store: S3Store, bucket: _Bucket) -> bool:
    if store.bucket != bucket.bucket:
        return False
    return not bucket.endpoint or _host(bucket.endpoint) == _host(store.endpoint)


def _require_encryption(name: str, store: S3Store, bucket: _Bucket) -> None:
    """Nothing may be stored less safely than was asked for."""
    wanted, key = bucket.encryption or "", bucket.kms_key or ""
    if wanted not in ("", store.encryption) or key not in ("", store.kms_key):
        raise BadAuthorizeAnswer(f'ServerSideEncryption: store "{name}" has not {wanted} {key}')


def _host(endpoint: str) -> str:
    try:
        return urlsplit(endpoint).netloc.lower()
    except ValueError:
        raise BadAuthorizeAnswer("Endpoint: is no URL") from None


def _presigned(remote: _Remote) -> PresignedAnswer:
    multipart = remote.multipart or _Multipart()
    is_multipart = multipart.part_size > 0
    return PresignedAnswer(
        put_url="" if is_multipart else remote.store_url or "",
        get_url=remote.get_url or "",
        delete_url=remote.delete_url or "",
        headers=(remote.headers or {}) if remote.has_headers else None,
        part_size=multipart.part_size,
        part_urls=multipart.part_urls or () if is_multipart else (),
        complete_url=multipart.complete_url or "" if is_multipart else "",
        abort_url=multipart.abort_url or "" if is_multipart else "",
    )
