"""Digests of parts in order are the digests of the whole, whatever the parts' sizes."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import DigestMismatch, OwnFault
from fastproxy.protocol import HEX_LENGTH
from fastproxy.uploads.digests import Digests, new_digest, require_available
from tests.support.examples import examples

NAMES = ("md5", "sha1", "sha256", "sha512")


class Piece:
    """A part in runs of views."""

    is_retained = True

    def __init__(self, *runs: bytes) -> None:
        self.number, self.offset = 1, 0
        self.size = sum(map(len, runs))
        self._runs = runs

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        for run in self._runs:
            middle = len(run) // 2
            yield [memoryview(run)[:middle], memoryview(run)[middle:]]


def digest_of(pieces: list[Piece]) -> dict[str, str]:
    """All digests of the pieces in order."""

    async def run() -> dict[str, str]:
        digests = Digests(NAMES)
        for piece in pieces:
            await digests.update(piece)
        return digests.hex()

    return asyncio.run(run())


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 200_000))
@examples(30)
def test_any_parts_give_the_digests_of_the_whole(parts: list[bytes], large: int) -> None:
    parts = [*parts, bytes(large)]
    whole = b"".join(parts)
    expected = {name: hashlib.new(name, whole).hexdigest() for name in NAMES}
    assert digest_of([Piece(part) for part in parts]) == expected
    assert digest_of([Piece(*parts)]) == expected


def test_a_wrong_digest_is_the_clients_fault() -> None:
    digests = Digests(("sha256",))
    digests.require({"sha256": hashlib.sha256(b"").hexdigest()})
    with pytest.raises(DigestMismatch) as caught:
        digests.require({"sha256": "0" * 64})
    assert caught.value.status == 422


def test_no_digest_reads_nothing() -> None:
    class Unread(Piece):
        def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
            raise AssertionError("read for nothing")

    asyncio.run(Digests(()).update(Unread(b"x")))


@pytest.mark.parametrize("name", NAMES)
def test_lengths_are_those_of_the_digests(name: str) -> None:
    assert len(new_digest(name).hexdigest()) == HEX_LENGTH[name]


def test_a_crc_without_its_library_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "awscrt.checksums", None)
    with pytest.raises(OwnFault, match="awscrt"):
        new_digest("crc32c")


def test_a_crc_is_written_in_all_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Checksums:
        crc32c = staticmethod(lambda data, value: zlib.crc32(data, value) & 0xFFF)

    monkeypatch.setitem(__import__("sys").modules, "awscrt.checksums", Checksums)
    digest = new_digest("crc32c")
    digest.update(memoryview(b"abc"))
    assert digest.hexdigest() == f"{zlib.crc32(b'abc') & 0xFFF:08x}"


@pytest.mark.parametrize(
    ("name", "check"), [("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_crcs_have_the_check_values_of_their_definitions(name: str, check: str) -> None:
    digest = new_digest(name)
    digest.update(memoryview(b"1234"))
    digest.update(memoryview(b"56789"))
    assert digest.hexdigest() == check


def test_no_hash_is_made_before_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    new = hashlib.new
    monkeypatch.setattr(hashlib, "new", lambda name, **more: made.append(name) or new(name, **more))
    digests = Digests(("sha256", "md5", "sha256"))
    assert made == []
    asyncio.run(digests.update(Piece(b"x")))
    assert made == ["sha256", "md5"]
    assert digests.hex()["md5"] == hashlib.md5(b"x").hexdigest()


def test_a_crc_that_cannot_be_had_is_known_before_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "awscrt.checksums", None)
    with pytest.raises(OwnFault, match="awscrt"):
        require_available(("sha256", "crc32c"))
    require_available(("sha256", "md5"))
