"""Where it puts files."""

from typing import Literal

from fastproxy.config.schema.values import Duration, MiB, Size, Strict


class LocalStore(Strict, frozen=True, kw_only=True, tag_field="type", tag="local"):
    """A directory. Objects appear by atomic rename after fsync."""

    path: str
    fsync: bool = True


class S3Store(Strict, frozen=True, kw_only=True, tag_field="type", tag="s3"):
    """An S3 bucket. Without key files the usual credentials chain decides."""

    bucket: str
    endpoint: str = ""
    region: str = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "auto"
    prefix: str = ""
    access_key_file: str = ""
    secret_key_file: str = ""
    ca_file: str = ""  # instead of the system's authorities
    tls_verify: bool = True  # False: whoever answers is believed
    part_size: Size = Size(8 * MiB)
    equal_parts: bool = False  # Cloudflare R2 wants it
    encryption: Literal["", "AES256", "aws:kms"] = ""  # by the store; empty: as the bucket has it
    kms_key: str = ""  # empty: the account's own
    checksum: Literal["none", "md5", "crc32", "crc32c", "crc64nvme", "sha256"] = "none"
    attempts: int = 5  # of one part
    timeout: Duration = Duration(60)  # of one attempt without progress
    connections: int = 64


AnyStore = LocalStore | S3Store
