"""Digests of parts in order are the digests of the whole, whatever the parts' sizes."""

import asyncio
import hashlib
import threading
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import DigestMismatch, OwnFault
from fastproxy.protocol import HEX_LENGTH
from fastproxy.uploads.digests import Digests, Hashed, new_digest, require_available
from tests.support.examples import examples
from tests.support.waiting import until

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


class Notes:
    """A digest that only notes, in a list it shares with others, how much it was given."""

    def __init__(self, name: str, taken: list[tuple[str, int]]) -> None:
        self._name = name
        self._taken = taken

    def update(self, data: memoryview) -> None:
        self._taken.append((self._name, len(data)))


def test_every_hash_takes_a_step_before_any_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, int]] = []
    monkeypatch.setattr("fastproxy.uploads.digests.new_digest", lambda name: Notes(name, taken))
    asyncio.run(Digests(("md5", "sha1")).update(Piece(bytes(300_000))))
    assert sum(size for name, size in taken if name == "sha1") == 300_000
    assert max(size for _, size in taken) == 64 * 1024
    assert taken[::2] == [("md5", size) for _, size in taken[1::2]]


def test_a_cancelled_upload_keeps_its_memory_until_its_thread_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(Notes):
        def update(self, data: memoryview) -> None:
            begun.set()
            assert may_end.wait(20)
            super().update(data)

    taken: list[tuple[str, int]] = []
    monkeypatch.setattr("fastproxy.uploads.digests.new_digest", lambda name: Slow(name, taken))

    async def run() -> None:
        task = asyncio.create_task(Digests(("md5",)).update(Piece(bytes(200_000))))
        await until(begun.is_set)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sum(size for _, size in taken) == 200_000

    asyncio.run(run())


@given(
    st.lists(st.binary(max_size=300), max_size=6),
    st.lists(st.integers(0, 6), max_size=4),
)
@examples(60)
def test_attempts_that_end_anywhere_hash_every_byte_once(
    runs: list[bytes], attempts: list[int]
) -> None:
    whole = b"".join(runs)

    async def main() -> None:
        digests = Digests(NAMES)
        body = Hashed(Piece(*runs), digests)
        for count in attempts:
            reading = body.chunks()
            for _ in range(count):
                await anext(reading, None)
            await reading.aclose()  # type: ignore[attr-defined]
        sent = [bytes(view) async for run in body.chunks() for view in run]
        assert b"".join(sent) == whole
        assert body.is_hashed
        assert digests.hex() == {name: hashlib.new(name, whole).hexdigest() for name in NAMES}

    asyncio.run(main())


def test_a_retry_whose_runs_are_other_ones_hashes_what_is_new_in_them() -> None:
    data = bytes(range(200))
    piece = Piece(data[:120], data[120:])

    async def main() -> None:
        body = Hashed(piece, digests := Digests(("sha1",)))
        await anext(body.chunks())
        piece._runs = (data[:30], data[30:170], data[170:])  # more of it was spilled meanwhile
        await body.read()
        assert digests.hex() == {"sha1": hashlib.sha1(data).hexdigest()}

    asyncio.run(main())
