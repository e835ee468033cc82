"""One member: the same bytes as zipfile unfolds, whatever the split, and never more than told."""

import io
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from fastproxy.zips.directory import Member, NotAZip, find_directory
from fastproxy.zips.member import Unpacking, data_start, find_member
from tests.zips.archives import Ranges, archive, in_loop


async def located(content: bytes, name: bytes) -> tuple[Member, bytes]:
    """The member and its packed bytes."""
    ranges = Ranges(content)
    place = await find_directory(ranges.read, len(content))
    member = await find_member(ranges.read, place, name)
    assert member is not None
    start = await data_start(ranges.read, member, len(content))
    return member, content[start : start + member.packed]


def unpacked(member: Member, pieces: list[bytes]) -> bytes:
    unpacking = Unpacking(member)
    out = [piece for packed in pieces for piece in unpacking.feed(packed)]
    unpacking.finish()
    assert all(len(piece) <= 64 << 10 for piece in out) or member.method == 0
    return b"".join(out)


@given(
    st.binary(max_size=2000),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.integers(1, 50),
    st.integers(1, 200),
)
@in_loop
async def test_any_split_gives_the_member(
    content: bytes, method: int, times: int, step: int
) -> None:
    whole = content * times
    member, packed = await located(archive({"x": b"1", "a": whole}, method=method), b"a")
    pieces = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert unpacked(member, pieces) == whole


@given(st.integers(1, 3), st.integers(-3, 600), st.binary(min_size=1, max_size=3))
@example(1, 251, b"\0")
@in_loop
async def test_what_packs_well_comes_out_to_its_last_byte(
    pieces: int, more: int, pattern: bytes
) -> None:
    size = (pieces << 16) + more
    whole = (pattern * size)[:size]
    member, packed = await located(archive({"a": whole}), b"a")
    assert unpacked(member, [packed]) == whole


@in_loop
async def test_a_member_that_is_not_there_is_none() -> None:
    ranges = Ranges(archive({"a": b""}))
    place = await find_directory(ranges.read, len(ranges.content))
    assert await find_member(ranges.read, place, b"b") is None


@in_loop
async def test_a_local_header_with_more_extra_fields_is_passed_over() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, made.open("a", "w", force_zip64=True) as writing:
        writing.write(b"content")
    member, packed = await located(file.getvalue(), b"a")
    assert unpacked(member, [packed]) == b"content"


@in_loop
async def test_more_than_the_directory_says_ends_there() -> None:
    member, packed = await located(archive({"bomb": bytes(1 << 20)}), b"bomb")
    told = structs.replace(member, size=70_000)
    unpacking = Unpacking(told).feed(packed)
    assert len(next(unpacking)) == 64 << 10
    with pytest.raises(NotAZip, match="larger"):
        next(unpacking)


@in_loop
async def test_less_than_the_directory_says_is_found_out() -> None:
    member, packed = await located(archive({"a": b"a" * 1000}), b"a")
    with pytest.raises(NotAZip, match="smaller"):
        unpacked(structs.replace(member, size=1001), [packed])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@in_loop
async def test_another_checksum_is_found_out_before_the_last_byte(method: int) -> None:
    member, packed = await located(archive({"a": b"a" * 1000}, method=method), b"a")
    with pytest.raises(NotAZip, match="checksum"):
        unpacked(structs.replace(member, crc=member.crc ^ 1), [packed])


@in_loop
async def test_noise_in_place_of_packed_bytes_is_found_out() -> None:
    member, packed = await located(archive({"a": b"a" * 1000}), b"a")
    with pytest.raises(NotAZip):
        unpacked(member, [b"\xff" * len(packed)])


@in_loop
async def test_what_is_not_served_is_refused_at_once() -> None:
    member, _ = await located(archive({"a": b"abcd"}, method=zipfile.ZIP_STORED), b"a")
    replace = structs.replace
    for odd in (replace(member, flags=1), replace(member, method=14), replace(member, packed=3)):
        with pytest.raises(NotAZip):
            Unpacking(odd)


@in_loop
async def test_an_offset_that_points_elsewhere_is_found_out() -> None:
    ranges = Ranges(archive({"a": b"abcd", "b": b""}))
    place = await find_directory(ranges.read, len(ranges.content))
    member = await find_member(ranges.read, place, b"a")
    assert member is not None
    with pytest.raises(NotAZip, match="local header"):
        await data_start(ranges.read, structs.replace(member, offset=1), len(ranges.content))
    behind = [{"offset": at} for at in (len(ranges.content) - 29, 1 << 63, (1 << 64) - 1)]
    for lie in (*behind, {"packed": len(ranges.content)}, {"packed": (1 << 64) - 1}):
        odd = structs.replace(member, **lie)
        with pytest.raises(NotAZip, match="behind the archive"):
            await data_start(ranges.read, odd, len(ranges.content))
