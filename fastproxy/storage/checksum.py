"""Content checks of parts and objects: computed before sending, signed, confirmed by the answer.

md5 goes as Content-MD5 and must come back as the ETag (not so for SSE-KMS and SSE-C). The others
go as `x-amz-checksum-*` and must come back in the answer under the same name; a store that does not
know them would ignore them silently, which is an error here.
"""

import asyncio
import base64
import hashlib
import importlib
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from fastproxy.errors import OwnFault, StoreMismatch
from fastproxy.message import Headers, find_header
from fastproxy.storage.contract import PartBody
from fastproxy.storage.sender import CorruptTransfer, HttpAnswer, etag_of

AMZ_NAMES = {"sha256": "SHA256", "crc32": "CRC32", "crc32c": "CRC32C", "crc64nvme": "CRC64NVME"}
CRC_BYTES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8}


class Hasher(Protocol):
    """What hashlib's objects are."""

    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A CRC, made of the function that continues one."""

    def __init__(self, crc: Callable[[memoryview, int], int], width: int) -> None:
        self._crc = crc
        self._width = width
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        """Take bytes."""
        self._value = self._crc(data, self._value)

    def digest(self) -> bytes:
        """Big endian, as S3 wants it."""
        return self._value.to_bytes(self._width, "big")


def hasher(name: str) -> Hasher:
    """A new hasher of that configured name. Raises OwnFault when it cannot be had."""
    if name in ("md5", "sha256"):
        return hashlib.new(name, usedforsecurity=False)
    return Crc(zlib.crc32 if name == "crc32" else _runtime(name), CRC_BYTES[name])


def _runtime(name: str) -> Callable[[memoryview, int], int]:
    """From the AWS Common Runtime (`pip install awscrt`): Python itself has only CRC-32."""
    try:
        crc: Callable[[memoryview, int], int] = getattr(
            importlib.import_module("awscrt.checksums"), name
        )
    except (ImportError, AttributeError) as error:
        raise OwnFault(f'checksum "{name}" needs a current awscrt: {error}') from error
    return crc


class Checksum(Struct, frozen=True):
    """The checksum of one body; `name` "none" checks nothing."""

    name: str = "none"
    digest: bytes = b""

    @property
    def value(self) -> str:
        """Base64, as it travels."""
        return base64.b64encode(self.digest).decode()

    @property
    def params(self) -> dict[str, str]:
        """As parameters of botocore."""
        if self.name == "none":
            return {}
        param = "ContentMD5" if self.name == "md5" else f"Checksum{AMZ_NAMES[self.name]}"
        return {param: self.value}

    @property
    def headers(self) -> Headers:
        """The signed header."""
        if self.name == "none":
            return []
        return [(self._header, self.value.encode())]

    def confirm(self, answer: HttpAnswer) -> None:
        """Raises CorruptTransfer, or StoreMismatch when the store does not know the checksum."""
        if self.name == "none":
            return
        if self.name == "md5":
            if etag_of(answer.headers).lower() != self.digest.hex():
                raise CorruptTransfer("the ETag is not the md5 of what was sent")
            return
        confirmed = find_header(answer.headers, self._header)
        if confirmed is None:
            raise StoreMismatch(f'the store does not confirm checksums of type "{self.name}"')
        if confirmed.decode("latin-1") != self.value:
            raise CorruptTransfer(f"the store confirms another {self.name}")

    @property
    def _header(self) -> bytes:
        if self.name == "md5":
            return b"content-md5"
        return f"x-amz-checksum-{self.name}".encode()


async def checksum_of(name: str, body: PartBody) -> Checksum:
    """Read a body once; hashing runs in a thread, a run at a time."""
    if name == "none":
        return Checksum()
    digest = hasher(name)
    async for run in body.chunks():
        await asyncio.to_thread(_update, digest, run)
    return Checksum(name, digest.digest())


def _update(digest: Hasher, views: Sequence[memoryview]) -> None:
    for view in views:
        digest.update(view)
