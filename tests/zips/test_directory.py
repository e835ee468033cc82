"""The central directory against zipfile, and against everything that is none."""

import asyncio
import contextlib
import io
import random
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fastproxy.zips.directory import (
    DEFAULT_LIMITS,
    Limits,
    Member,
    NotAZip,
    TooLarge,
    extra_field,
    find_directory,
    members,
    modified,
    permissions,
)
from tests.zips.archives import Ranges, archive, in_loop

NAMES = st.text(
    st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1, max_size=40
)


async def listed(content: bytes, limits: Limits = DEFAULT_LIMITS) -> list[Member]:
    ranges = Ranges(content)
    place = await find_directory(ranges.read, len(content))
    return [member async for batch in members(ranges.read, place, limits) for member in batch]


def by_zipfile(content: bytes) -> list[tuple[str, int, int, int, int]]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return [
            (i.orig_filename, i.CRC, i.compress_size, i.file_size, i.header_offset)
            for i in opened.infolist()
        ]


def as_zipfile(member: Member) -> tuple[str, int, int, int, int]:
    name = member.name.decode("utf-8" if member.flags & 0x800 else "cp437")
    return name, member.crc, member.packed, member.size, member.offset


@given(
    st.dictionaries(NAMES, st.binary(max_size=200), max_size=30),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=3000),
    st.binary(max_size=300),
)
def test_the_directory_says_what_zipfile_says(
    files: dict[str, bytes], method: int, comment: bytes, before: bytes
) -> None:
    content = archive(files, method=method, comment=comment, before=before)
    try:
        expected = by_zipfile(content)
    except zipfile.BadZipFile:  # a comment that looks like an end record
        return
    assert list(map(as_zipfile, asyncio.run(listed(content)))) == expected


@in_loop
async def test_an_archive_of_64_bits_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    content = archive({f"file {n}": bytes(100 + n) for n in range(9)}, before=b"#!/bin/sh\n")
    assert b"PK\6\6" in content
    assert list(map(as_zipfile, await listed(content))) == by_zipfile(content)


@in_loop
async def test_a_large_directory_comes_in_batches() -> None:
    content = archive({f"{n:0200}": b"" for n in range(3000)})
    ranges = Ranges(content)
    place = await find_directory(ranges.read, len(content))
    sizes = [len(batch) async for batch in members(ranges.read, place)]
    assert sum(sizes) == 3000
    assert max(sizes) < 300
    assert max(length for _, length in ranges.asked) <= 64 << 10


@in_loop
async def test_only_the_end_of_a_large_archive_is_read() -> None:
    content = archive({"large": random.Random(1).randbytes(1 << 20)})
    ranges = Ranges(content)
    place = await find_directory(ranges.read, len(content))
    assert [b async for b in members(ranges.read, place)]
    assert ranges.read_bytes < 2048


@pytest.mark.parametrize("content", [b"", b"P", b"PK\5\6", b"no zip" * 100_000, bytes(21)])
@in_loop
async def test_what_is_no_archive_is_found_out_within_two_reads(content: bytes) -> None:
    ranges = Ranges(content)
    with pytest.raises(NotAZip):
        await find_directory(ranges.read, len(content))
    assert len(ranges.asked) <= 2
    assert ranges.read_bytes <= 68 << 10


@given(st.data())
def test_damage_is_an_archive_or_none_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(archive({"a/b.txt": b"x" * 300, "c": b"", "d/": b""}, comment=b"PK\5\6"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0xFE, 0xFF]))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut]), bytes(content[cut:])):
        with contextlib.suppress(NotAZip, TooLarge):
            asyncio.run(listed(damaged))


def end_record(count: int, length: int, offset: int) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, offset, 0)


@in_loop
async def test_a_directory_that_begins_before_the_archive_is_none() -> None:
    with pytest.raises(NotAZip, match="before"):
        await listed(b"x" * 50 + end_record(1, 60, 0))
    with pytest.raises(NotAZip, match="before"):
        await listed(b"x" * 50 + end_record(1, 10, 41))


@in_loop
async def test_a_directory_that_ends_within_a_member_is_none() -> None:
    content = archive({"name": b""})
    place = content.rindex(b"PK\1\2")
    length = len(content) - 22 - place
    with pytest.raises(NotAZip, match="within"):
        await listed(content[: place + length - 1] + end_record(1, length - 1, place))


@in_loop
async def test_too_large_a_directory_is_not_read() -> None:
    content = archive({f"{n}": b"" for n in range(50)})
    with pytest.raises(TooLarge, match="bytes"):
        await listed(content, Limits(directory_bytes=100))
    with pytest.raises(TooLarge, match="49 members"):
        await listed(content, Limits(members=49))
    assert len(await listed(content, Limits(members=50))) == 50


@in_loop
async def test_a_lying_count_of_members_does_not_matter() -> None:
    content = bytearray(archive({f"{n}": b"" for n in range(5)}))
    at = content.rindex(b"PK\5\6")
    content[at + 8 : at + 12] = struct.pack("<2H", 60_000, 60_000)
    assert len(await listed(bytes(content))) == 5


@pytest.mark.parametrize(
    "content", [end_record(0xFFFF, 0, 0), b"PK\6\7" + bytes(16) + end_record(0xFFFF, 0, 0)]
)
@in_loop
async def test_a_promise_of_64_bits_without_a_record_is_no_crash(content: bytes) -> None:
    with contextlib.suppress(NotAZip):
        assert await listed(content) == []


def one(info: zipfile.ZipInfo) -> Member:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(info, b"x")
    return asyncio.run(listed(file.getvalue()))[0]


def test_the_time_is_that_of_dos_as_utc() -> None:
    assert modified(one(zipfile.ZipInfo("x", (2026, 11, 29, 1, 2, 4)))) == 1795914124


def test_the_extended_timestamp_wins() -> None:
    info = zipfile.ZipInfo("x")
    info.extra = struct.pack("<2H2s2HBl", 9, 2, b"..", 0x5455, 5, 1, -5)
    assert modified(one(info)) == -5


def test_a_date_that_is_none_is_nothing() -> None:
    assert modified(structs.replace(one(zipfile.ZipInfo("x")), dos_date=0)) == 0


@pytest.mark.parametrize(
    ("system", "attributes", "expected"),
    [
        (3, 0o100755 << 16, 0o755),
        (19, 0o100600 << 16, 0o600),
        (0, 0, 0o666),
        (0, 1, 0o444),
        (0, 16, 0o777),
    ],
)
def test_permissions_follow_the_system_that_made_it(
    system: int, attributes: int, expected: int
) -> None:
    info = zipfile.ZipInfo("x")
    info.create_system = system
    info.external_attr = attributes
    member = one(info)
    if attributes:  # zipfile writes a mode of its own where there is none
        assert permissions(member) == expected


@given(st.binary(max_size=40))
def test_broken_extra_fields_are_read_within_their_bounds(extra: bytes) -> None:
    for wanted in (0x0001, 0x5455, 0):
        assert extra_field(extra, wanted) in extra
