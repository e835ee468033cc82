"""GitLab's permission is understood as Workhorse would, or refused with the field's name."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config.schema import AnyStore, LocalStore, S3Store, UploadRoute
from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.uploads.answer import Permission, PresignedAnswer
from fastproxy.uploads.gitlab import read_gitlab

ROUTE = UploadRoute(allowed_hosts=("store.example",))
STORES: dict[str, AnyStore] = {
    "shared": LocalStore(path="/srv/shared"),
    "plain": S3Store(bucket="artifacts", endpoint="https://s3.example", prefix="tmp/"),
    "safe": S3Store(bucket="lfs", encryption="aws:kms", kms_key="k-1"),
}
URL = "https://store.example/o?sig=1"


def read(stores: dict[str, AnyStore] = STORES, **fields: Any) -> Permission:
    """The permission of that JSON."""
    return read_gitlab(json.dumps(fields).encode(), ROUTE, stores)


def remote(**fields: Any) -> Permission:
    return read(RemoteObject={"ID": "7", **fields})


def own(bucket: dict[str, Any], **fields: Any) -> Permission:
    """Rails wants us to use our own credentials."""
    storage = {"Provider": "AWS", "S3Config": bucket}
    fields = {"RemoteTempObjectID": "tmp/a/b", "UseWorkhorseClient": True, **fields}
    return remote(ObjectStorage=storage, **fields)


def test_a_file_in_a_directory_of_a_local_store_gets_a_name_of_its_own() -> None:
    permissions = [read(TempPath="/srv/shared/artifacts/tmp/../tmp/") for _ in range(2)]
    for permission in permissions:
        assert permission.store == "shared"
        assert permission.key.startswith("artifacts/tmp/gitlab-workhorse-upload")
        assert permission.delete_after
        assert permission.presigned is None
    assert permissions[0].key != permissions[1].key


def test_the_root_of_a_store_is_beneath_it(tmp_path: Path) -> None:
    assert "/" not in read(TempPath="/srv/shared").key
    os.symlink(tmp_path, tmp_path / "link")
    linked: dict[str, AnyStore] = {"l": LocalStore(path=str(tmp_path / "link"))}
    assert read(linked, TempPath=str(tmp_path / "link/a")).store == "l"
    assert read(linked, TempPath=str(tmp_path / "a")).store == "l"


@pytest.mark.parametrize("path", ["/srv", "/srv/shared/../x", "/srv/shared2", "shared", "/", "\0"])
def test_a_directory_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(BadAuthorizeAnswer, match="TempPath"):
        read(TempPath=path)


def test_signed_urls_arrive_with_all_that_belongs_to_them() -> None:
    permission = remote(
        StoreURL=URL + "&put", GetURL=URL + "&get", DeleteURL=URL + "&delete", Timeout=12.5,
        CustomPutHeaders=True, PutHeaders={"Content-Type": "x/y"}, Unknown=[{}],
    )  # fmt: skip
    assert (permission.id, permission.timeout, permission.delete_after) == ("7", 12.5, True)
    assert permission.presigned == PresignedAnswer(
        put_url=URL + "&put", get_url=URL + "&get", delete_url=URL + "&delete",
        headers={"Content-Type": "x/y"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"PutHeaders": {"A": "b"}}, None),
        ({"CustomPutHeaders": True, "PutHeaders": None}, {}),
        ({"CustomPutHeaders": True}, {}),
    ],
)
def test_put_headers_count_only_when_rails_says_so(
    fields: dict[str, Any], headers: dict[str, str] | None
) -> None:
    presigned = remote(StoreURL=URL, **fields).presigned
    assert presigned is not None
    assert presigned.headers == headers


def test_a_part_size_makes_it_a_multipart_upload() -> None:
    parts = {"PartURLs": [URL + "&1", URL + "&2"], "CompleteURL": URL, "AbortURL": URL + "&a"}
    many = remote(StoreURL=URL, MultipartUpload={"PartSize": 5 << 20, **parts}).presigned
    assert many == PresignedAnswer(
        part_size=5 << 20, part_urls=(URL + "&1", URL + "&2"),
        complete_url=URL, abort_url=URL + "&a",
    )  # fmt: skip
    single = remote(StoreURL=URL, MultipartUpload={"PartSize": 0, **parts}).presigned
    assert single == PresignedAnswer(put_url=URL)


def test_what_rails_keeps_is_not_deleted() -> None:
    assert remote(StoreURL=URL, SkipDelete=True).delete_after is False


def test_a_bucket_of_ours_is_used_without_signed_urls() -> None:
    for endpoint in ("https://s3.example", "https://S3.example/", "", None):
        permission = own({"Bucket": "artifacts", "Endpoint": endpoint, "PathStyle": True})
        assert (permission.store, permission.key) == ("plain", "a/b")
        assert (permission.id, permission.presigned) == ("7", None)


@pytest.mark.parametrize(
    ("bucket", "fields"),
    [
        ({"Bucket": "other"}, {}),
        ({"Bucket": "artifacts", "Endpoint": "https://elsewhere.example"}, {}),
        ({"Bucket": "artifacts"}, {"RemoteTempObjectID": "uploads/a"}),  # outside the prefix
        ({"Bucket": "artifacts"}, {"RemoteTempObjectID": ""}),
        ({"Bucket": "artifacts"}, {"UseWorkhorseClient": False}),
        ({}, {}),
    ],
)
def test_without_such_a_bucket_the_signed_urls_must_do(
    bucket: dict[str, Any], fields: dict[str, Any]
) -> None:
    permission = own(bucket, StoreURL=URL, **fields)
    assert (permission.store, permission.key) == ("", "")
    assert permission.presigned == PresignedAnswer(put_url=URL)


def test_another_provider_than_s3_is_left_to_signed_urls() -> None:
    storage = {"Provider": "Google", "GoCloudConfig": {"URL": "gs://artifacts"}}
    fields = {"RemoteTempObjectID": "tmp/a", "UseWorkhorseClient": True, "StoreURL": URL}
    assert remote(ObjectStorage=storage, **fields).presigned is not None


def test_nothing_is_stored_less_safely_than_rails_wants() -> None:
    with pytest.raises(BadAuthorizeAnswer, match="ServerSideEncryption"):
        own({"Bucket": "artifacts", "ServerSideEncryption": "AES256"})
    kms = {"Bucket": "lfs", "ServerSideEncryption": "aws:kms"}
    assert own({**kms, "SSEKMSKeyID": "k-1"}).store == "safe"
    with pytest.raises(BadAuthorizeAnswer, match="ServerSideEncryption"):
        own({**kms, "SSEKMSKeyID": "k-2"})


def test_limits_and_hashes() -> None:
    permission = read(TempPath="/srv/shared", MaximumSize=0, UploadHashFunctions=None)
    assert permission.max_size is None
    assert permission.hashes == ("md5", "sha1", "sha256", "sha512")
    permission = read(
        TempPath="/srv/shared", MaximumSize=9, UploadHashFunctions=["sha256", "whirlpool"]
    )
    assert (permission.max_size, permission.hashes) == (9, ("sha256",))


def test_an_lfs_object_must_be_what_it_is_called() -> None:
    oid = "ab" * 32
    permission = read(TempPath="/srv/shared", LfsOid=oid, LfsSize=12, MaximumSize=99)
    assert (permission.expected, permission.size) == ({"sha256": oid}, 12)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"TempPath": "/srv/shared", "RemoteObject": {"ID": "7", "StoreURL": URL}},
        {"RemoteObject": {"StoreURL": URL}},
        {"RemoteObject": {"ID": "7", "StoreURL": "https://elsewhere.example/"}},
        {"RemoteObject": {"ID": "7", "StoreURL": URL, "Timeout": -1}},
        {"RemoteObject": {"ID": "7" * 3000, "StoreURL": URL}},
        {"RemoteObject": []},
        {"TempPath": 7},
        {"TempPath": "/srv/shared", "MaximumSize": "7"},
        {"TempPath": "/srv/shared", "MaximumSize": -1},
        {"TempPath": "/srv/shared", "LfsOid": "xyz"},
        {"RemoteObject": {"ID": "7", "ObjectStorage": {"S3Config": {"Endpoint": 1}}}},
    ],
)
def test_what_must_not_be_followed_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadAuthorizeAnswer):
        read(**fields)
