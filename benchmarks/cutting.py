"""Ways to cut a stream into parts, each given the same reads: ours, and those of other libraries.

    python -m benchmarks.cutting WAY

prints the bytes of memory that WAY takes for one stream, at its peak.
"""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.question import OURS, Need
from fastproxy.chunker import Chunker, Part, SlabPool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MIB = 1 << 20
SLAB = 65536
PART = 8 * MIB
STREAM = 64 * MIB

POOL = SlabPool(2 * PART, SLAB)  # of a whole process: not made anew for each stream

Reads = Sequence[memoryview]
OnPart = Callable[[Any], object]


def reads(size: int, total: int = STREAM) -> Reads:
    """A stream as a program gets it, `size` bytes at a time."""
    data = memoryview(b"x" * total)  # not zeros, which the kernel would not have to keep
    return [data[start : start + size] for start in range(0, total, size)]


def with_chunker(stream: Reads, on_part: OnPart) -> None:
    """Ours."""
    chunker = Chunker(POOL, PART)
    for read in stream:
        chunker.feed(read)
        for part in chunker:
            _lend(part, on_part)
    chunker.finish()
    for part in chunker:
        _lend(part, on_part)


def _lend(part: Part, on_part: OnPart) -> None:
    with part:
        on_part(part)


def with_memcpy(stream: Reads, on_part: OnPart) -> None:
    """The bare copies, read by read, into memory for one part."""
    part = bytearray(PART)
    target, at = memoryview(part), 0
    for read in stream:
        after = at + len(read)
        if after < PART:
            target[at:after] = read
            at = after
        else:
            target[at:] = read[: PART - at]
            on_part(part)
            rest = read[PART - at :]
            at = len(rest)
            target[:at] = rest
    if at:
        on_part(part[:at])


def with_s3transfer(stream: Reads, on_part: OnPart) -> None:
    """What boto3's upload_fileobj() does with a file of unknown length, in one thread."""
    from s3transfer.futures import TransferCoordinator, TransferFuture, TransferMeta
    from s3transfer.manager import TransferConfig
    from s3transfer.upload import UploadNonSeekableInputManager
    from s3transfer.utils import CallArgs, OSUtils

    file = io.BufferedReader(_Raw(stream))
    call = CallArgs(fileobj=file, subscribers=[])
    future = TransferFuture(TransferMeta(call), TransferCoordinator())  # type: ignore[arg-type]  # wrong stub
    manager = UploadNonSeekableInputManager(OSUtils(), TransferCoordinator())
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    manager.requires_multipart_upload(future, config)  # reads the first part
    for _, body in manager.yield_upload_part_bodies(future, PART):
        on_part(body)


class _Raw(io.RawIOBase):
    """Gives one read at a time, as a socket does, straight into the reader's memory."""

    def __init__(self, stream: Reads) -> None:
        self._stream: Iterator[memoryview] = iter(stream)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        self._rest = self._rest or next(self._stream, self._rest)
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def with_smart_open(stream: Reads, on_part: OnPart) -> None:
    """What smart_open.open("s3://...", "wb") writes to."""
    from smart_open.s3 import MultipartWriter

    with MultipartWriter("bucket", "key", PART, client=_Client(on_part)) as writer:
        for read in stream:
            writer.write(read)


class _Client:
    """An S3 client as far as smart_open asks it, without a network."""

    def __init__(self, on_part: OnPart) -> None:
        self._on_part = on_part

    def create_multipart_upload(self, **_: object) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, *, Body: io.BytesIO, **_: object) -> dict[str, str]:  # noqa: N803 - S3's
        self._on_part(Body)
        return {"ETag": "1"}

    def complete_multipart_upload(self, **_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Way:
    """`cut(stream, on_part)` lends each part to `on_part`, of which `content` makes bytes."""

    name: str
    cut: Callable[[Reads, OnPart], None]
    content: Callable[[Any], bytes]
    needs: tuple[Need, ...] = ()


WAYS = (
    Way(OURS, with_chunker, lambda part: part.tobytes()),
    Way("memcpy", with_memcpy, bytes),
    Way(
        "s3transfer",
        with_s3transfer,
        lambda body: body.read(),
        (Need("s3transfer", pypi="s3transfer"),),
    ),
    Way(
        "smart_open", with_smart_open, io.BytesIO.getvalue, (Need("smart_open", pypi="smart-open"),)
    ),
)
BY_NAME = {way.name: way for way in WAYS}


def drop(_: object) -> None:
    """Do nothing with a part."""


def peak_memory(way: Way) -> int:
    """Bytes that the process had at most beyond what it has now, while one stream was cut."""
    way.cut(reads(SLAB, SLAB), drop)  # what is imported and made once is not counted
    stream = reads(SLAB)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak begins anew
    way.cut(stream, drop)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"no {name} in /proc/self/status")


if __name__ == "__main__":
    print(peak_memory(BY_NAME[sys.argv[1]]))
