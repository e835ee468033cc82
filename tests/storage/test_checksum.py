"""Checksums: what is computed, what is sent, what must come back."""

import asyncio
import hashlib
import sys
import types
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from fastproxy.errors import OwnFault, StoreMismatch
from fastproxy.storage.checksum import Checksum, checksum_of, hasher
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store
from fastproxy.storage.sender import CorruptTransfer, HttpCall
from fastproxy.storage.undoing import Undoing
from tests.contract.stores import s3_config
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import Bytes, cut, pattern, run

DATA = pattern(300_001)


class Answer:
    """An HttpAnswer."""

    def __init__(self, **headers: str) -> None:
        self.status, self.body = 200, b""
        self.headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_it_is_that_of_the_bytes(name: str) -> None:
    found = asyncio.run(checksum_of(name, Bytes(DATA, step=1000)))
    assert found.digest == hashlib.new(name, DATA).digest()


def test_without_one_the_body_is_not_read() -> None:
    body = Bytes(DATA)
    assert asyncio.run(checksum_of("none", body)) == Checksum()
    assert body.reads == 0


def test_md5_must_come_back_as_the_etag() -> None:
    found = Checksum("md5", hashlib.md5(b"x").digest())
    found.confirm(Answer(ETag=f'"{hashlib.md5(b"x").hexdigest().upper()}"'))
    with pytest.raises(CorruptTransfer):
        found.confirm(Answer(ETag='"abc-2"'))


def test_others_must_come_back_under_their_name() -> None:
    found = Checksum("sha256", b"\0" * 32)
    found.confirm(Answer(X_Amz_Checksum_Sha256=found.value))
    with pytest.raises(CorruptTransfer):
        found.confirm(Answer(X_Amz_Checksum_Sha256="other"))
    with pytest.raises(StoreMismatch, match="does not confirm"):
        found.confirm(Answer())


def test_a_crc_needs_the_common_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "awscrt.checksums", None)
    with pytest.raises(OwnFault, match=r"crc32c.*awscrt"):
        hasher("crc32c")
    crt = types.ModuleType("awscrt.checksums")
    crt.crc32c = zlib.crc32  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "awscrt", types.ModuleType("awscrt"))
    monkeypatch.setitem(sys.modules, "awscrt.checksums", crt)
    found = asyncio.run(checksum_of("crc32c", Bytes(DATA, step=1000)))
    assert found.digest == zlib.crc32(DATA).to_bytes(4, "big")


def test_crc32_is_that_of_the_bytes() -> None:
    found = asyncio.run(checksum_of("crc32", Bytes(DATA, step=1000)))
    assert found.digest == zlib.crc32(DATA).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("name", "digest"), [("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_a_crc_is_the_one_that_its_name_says(name: str, digest: str) -> None:
    """The check values of Rocksoft's model: over "123456789"."""
    pytest.importorskip("awscrt")
    found = asyncio.run(checksum_of(name, Bytes(b"123456789", step=2)))
    assert found.digest.hex() == digest


class Changing(Bytes):
    """Hashed, and then another one: a bit fell over on the way."""

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        self.reads += 1
        damage = bytes([self.data[0] ^ (self.reads > 1)])
        yield [memoryview(damage), memoryview(self.data)[1:]]


CHECKSUMS = ["md5", "sha256", "crc32", "crc32c", "crc64nvme"]


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_real_store_refuses_other_bytes(name: str, tmp_path: Path, seaweed: Seaweed) -> None:
    if name in ("crc32c", "crc64nvme"):
        pytest.importorskip("awscrt")
    bucket = f"damage-{name}"
    witness = seaweed.client()
    witness.create_bucket(Bucket=bucket)

    async def main(call: HttpCall) -> None:
        config = s3_config(tmp_path, seaweed, bucket, checksum=name, attempts=2)
        store = open_store("s", config, call, Undoing(Journal(), settle_s=0))
        with pytest.raises(StoreMismatch):
            await store.put("small", Changing(DATA))
        upload = await store.begin("large")
        with pytest.raises(StoreMismatch):
            await upload.put_part(Changing(DATA))
        await upload.abort()
        await store.close()

    run(main)
    assert "Contents" not in witness.list_objects_v2(Bucket=bucket)
    witness.close()


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_real_store_confirms_objects_and_parts(
    name: str, tmp_path: Path, seaweed: Seaweed
) -> None:
    if name in ("crc32c", "crc64nvme"):
        pytest.importorskip("awscrt")
    bucket = f"checksums-{name}"
    witness = seaweed.client()
    witness.create_bucket(Bucket=bucket)
    data = pattern((5 << 20) + 3)

    async def main(call: HttpCall) -> None:
        config = s3_config(tmp_path, seaweed, bucket, checksum=name)
        store = open_store("s", config, call, Undoing(Journal()))
        stored = await store.put("small", Bytes(DATA))
        assert stored.checksums
        upload = await store.begin("large")
        for part in cut(data, 5 << 20):
            await upload.put_part(part)
        await upload.complete(len(data))
        await store.close()

    run(main)
    assert witness.get_object(Bucket=bucket, Key="pre/large")["Body"].read() == data
    witness.close()
