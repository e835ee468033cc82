"""The hashes that a route or a backend asks for: computed once, in a thread when large.

Parts come in order, so the digests of a body are those of its parts one after another. hashlib lets
go of the interpreter lock, so bodies are hashed side by side, and while more of them comes.
"""

import asyncio
import hashlib
import importlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Protocol

from fastproxy.errors import DigestMismatch, OwnFault
from fastproxy.protocol import HEX_LENGTH
from fastproxy.storage.contract import BodyAround, PartBody

# Of one hash, in the loop: 0.1 to 0.3 ms. To ask a thread and to hear of it takes as long.
_INLINE_BYTES: Final = 128 * 1024
# All hashes take so much before any takes more, so that memory is read once and not for each. With
# the four of GitLab, each in a thread of its own over a whole part, a GiB took 4.7 s; it takes 4.0.
_STEP_BYTES: Final = 64 * 1024


class Digest(Protocol):
    """What hashlib's objects are, as far as we need it."""

    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc:
    """A CRC of the AWS Common Runtime, which has them in machine code."""

    def __init__(self, name: str) -> None:
        try:
            checksums = importlib.import_module("awscrt.checksums")
        except ImportError as error:
            raise OwnFault(f'hash "{name}" needs the package awscrt') from error
        self._crc = getattr(checksums, name)
        self._value = 0
        self._digits = HEX_LENGTH[name]

    def update(self, data: memoryview, /) -> None:
        self._value = self._crc(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:0{self._digits}x}"


def new_digest(name: str) -> Digest:
    """A new digest by its name in HEX_LENGTH. Raises OwnFault when it cannot be had."""
    if name.startswith("crc"):
        return _Crc(name)
    return hashlib.new(name, usedforsecurity=False)


def require_available(names: Iterable[str]) -> None:
    """Raises OwnFault when one of them cannot be had here, before anybody sends a body for it."""
    for name in names:
        if name.startswith("crc"):
            new_digest(name)


class Digests:
    """All digests of one body; made with its first bytes, for many bodies are long in coming."""

    __slots__ = ("_digests", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._digests: dict[str, Digest] = {}

    def _make(self) -> dict[str, Digest]:
        if not self._digests:
            self._digests = {name: new_digest(name) for name in self._names}
        return self._digests

    async def update(self, part: PartBody) -> None:
        """Take the next part."""
        if self._names:
            async for run in part.chunks():
                await self.take(run)

    async def take(self, run: Sequence[memoryview]) -> None:
        """Take the next bytes, and all of them, even when this is cancelled."""
        digests = self._make()
        if sum(map(len, run)) * len(digests) <= _INLINE_BYTES:
            self._update_all(run)
        else:
            await self._in_a_thread(run)

    def _update_all(self, run: Sequence[memoryview]) -> None:
        digests = self._digests.values()
        for view in run:
            for start in range(0, len(view), _STEP_BYTES):
                step = view[start : start + _STEP_BYTES]
                for digest in digests:
                    digest.update(step)

    async def _in_a_thread(self, run: Sequence[memoryview]) -> None:
        job = asyncio.get_running_loop().run_in_executor(None, self._update_all, run)
        try:
            await asyncio.shield(job)
        finally:
            # A thread that still reads the part's memory must end before anyone gives it back.
            await asyncio.shield(asyncio.gather(job, return_exceptions=True))

    def hex(self) -> dict[str, str]:
        """All digests in lower-case hex."""
        return {name: digest.hexdigest() for name, digest in self._make().items()}

    def require(self, expected: dict[str, str]) -> None:
        """Raises DigestMismatch unless the body has these digests."""
        for name, digest in expected.items():
            found = self._make()[name].hexdigest()
            if found != digest:
                raise DigestMismatch(f"{name} is {found}, not {digest}")


class Hashed(BodyAround):
    """A body that is hashed by its first reading, which also sends it. Satisfies PartBody.

    What was spilled is read from disk once instead of twice. `taken`: bytes that are hashed.
    """

    digests: Digests
    taken: int = 0

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """See PartBody. A retry hashes only what no attempt before it has read."""
        end = 0
        async for run in self.body.chunks():
            end += sum(map(len, run))
            if fresh := max(0, end - self.taken):
                self.taken = end  # before: whoever is cancelled in `take` has hashed it
                await self.digests.take(_last(run, fresh))
            yield run

    @property
    def is_hashed(self) -> bool:
        """All of it was read once."""
        return self.taken == self.size

    async def read(self) -> None:
        """Hash it before it is sent."""
        async for _ in self.chunks():
            pass


def _last(run: Sequence[memoryview], size: int) -> list[memoryview]:
    """The last `size` bytes."""
    found: list[memoryview] = []
    for view in reversed(run):
        found.append(view[max(0, len(view) - size) :])
        size -= len(found[-1])
    return found[::-1]
