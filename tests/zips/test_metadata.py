"""GitLab's list of members, read back as its Ruby does."""

import gzip
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.zips.directory import DEFAULT_LIMITS, Limits, TooLarge, find_directory
from fastproxy.zips.metadata import gitlab_metadata
from tests.zips.archives import Ranges, archive, in_loop
from tests.zips.test_directory import NAMES


async def metadata(content: bytes, limits: Limits = DEFAULT_LIMITS) -> list[tuple[bytes, bytes]]:
    """Version and errors first, then paths and what is said of them."""
    ranges = Ranges(content)
    made, _ = await gitlab_metadata(
        ranges.read, await find_directory(ranges.read, len(content)), limits
    )
    file = io.BytesIO(gzip.decompress(made))
    strings = []
    while length := file.read(4):
        strings.append(file.read(int.from_bytes(length, "big")))
    return list(zip(strings[::2], strings[1::2], strict=True))


@in_loop
async def test_folders_that_are_not_named_are_added_in_the_order_of_bytes() -> None:
    content = archive({"some/file/dir/": b"", "some/file/dir/file2": b"2", "file1": b"1", "Z": b""})
    first, *rest = await metadata(content)
    assert first == (b"GitLab Build Artifacts Metadata 0.0.2\n", b"{}")
    assert [path for path, _ in rest] == [
        b"Z", b"file1", b"some/", b"some/file/", b"some/file/dir/", b"some/file/dir/file2",
    ]  # fmt: skip
    assert dict(rest)[b"some/"] == b"{}\n"


@in_loop
async def test_a_member_is_described_as_workhorse_does() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        info = zipfile.ZipInfo("a.txt", (2026, 11, 29, 1, 2, 4))
        info.external_attr = 0o100640 << 16
        info.comment = b"caf\xe9"
        info.compress_type = zipfile.ZIP_DEFLATED
        made.writestr(info, b"a" * 1000)
    described = dict(await metadata(file.getvalue()))[b"a.txt"]
    assert described.endswith(b"}\n")
    assert json.loads(described) == {
        "modified": 1795914124,
        "mode": "640",
        "crc": info.CRC,
        "size": 1000,
        "zipped": info.compress_size,
        "comment": "caf\N{REPLACEMENT CHARACTER}",
    }


@in_loop
async def test_what_is_nothing_is_left_out() -> None:
    described = json.loads(dict(await metadata(archive({"empty": b""})))[b"empty"])
    assert set(described) == {"modified", "mode", "zipped"}


@in_loop
async def test_paths_that_climb_and_odd_slashes_are_listed_as_they_are() -> None:
    names = ["../../test12/test", "/usr/bin/test", "c:/windows/win.dll", "./f/asd", "/", "a//b"]
    paths = {path for path, _ in await metadata(archive(dict.fromkeys(names, b"")))}
    assert paths >= {name.encode() for name in names}
    assert b"/usr/bin/" in paths


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=20))
@in_loop
async def test_every_member_and_every_folder_is_there_once(files: dict[str, bytes]) -> None:
    paths = [path for path, _ in (await metadata(archive(files)))[1:]]
    assert paths == sorted(set(paths))
    for name in files:
        parts = name.encode().rstrip(b"/").split(b"/")
        assert name.encode() in paths
        for depth in range(1, len(parts)):
            folder = b"/".join(parts[:depth]) + b"/"
            assert folder in paths or folder == b"/"


@in_loop
async def test_a_name_of_slashes_does_not_become_a_gigabyte() -> None:
    content = archive({"a/" * 32_000: b""})
    with pytest.raises(TooLarge, match="paths"):
        await metadata(content, Limits(directory_bytes=1 << 20))


@in_loop
async def test_of_two_members_with_one_name_the_first_is_told() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", b"12")
    assert json.loads(dict(await metadata(file.getvalue()))[b"a"])["size"] == 1
