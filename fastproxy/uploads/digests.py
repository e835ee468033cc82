"""The hashes that a route or a backend asks for: computed once, in a thread when large.

Parts come in order, so the digests of a body are those of its parts one after another. hashlib lets
go of the interpreter lock, so bodies are hashed side by side, and while more of them comes.
"""

import asyncio
import hashlib
import importlib
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from fastproxy.errors import DigestMismatch, OwnFault
from fastproxy.protocol import HEX_LENGTH
from fastproxy.storage.contract import PartBody

_INLINE_BYTES: Final = 64 * 1024  # below this a thread costs more than the hash
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
        if not self._make():
            return
        async for run in part.chunks():
            if sum(map(len, run)) <= _INLINE_BYTES:
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
        found = self.hex()
        for name, digest in expected.items():
            if found[name] != digest:
                raise DigestMismatch(f"{name} is {found[name]}, not {digest}")
