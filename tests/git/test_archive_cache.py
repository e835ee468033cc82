"""Archives that are kept: whole or not at all, the latest first, within their size."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from fastproxy.git.archive_cache import ArchiveCache, place_of
from fastproxy.git.orders import Archive, Pointers

COMMIT = "a" * 40


def keep(cache: ArchiveCache, place: list[bytes], data: bytes) -> None:
    draft = cache.create(place)
    try:
        draft.write(data)
        draft.finish()
    finally:
        draft.close()


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def names(tmp_path: Path) -> set[str]:
    """Without reading them: that would count as asking for them."""
    return {path.name for path in tmp_path.rglob("*") if path.is_file()}


def test_every_order_has_a_place_of_its_own() -> None:
    orders = [
        Archive(repository=repository, commit=commit, format=form, prefix=prefix, path=path)
        for repository in ("a.git", "b.git")
        for commit in (COMMIT, "b" * 40)
        for form in ("zip", "tar")
        for prefix, path in (("", ""), ("p", ""), ("", "p"), ("p', 'p", ""), ("p", "p"))
    ]
    one = orders[0]
    orders += [replace(one, exclude=("p",)), replace(one, elide=True)]
    orders += [replace(one, pointers=Pointers.REFUSE)]
    assert len({tuple(place_of(order)) for order in orders}) == len(orders)
    assert place_of(orders[0]) == place_of(orders[0])


def test_a_draft_is_seen_when_it_is_finished(tmp_path: Path) -> None:
    cache = ArchiveCache(str(tmp_path), 100)
    draft = cache.create([b"00", b"x"])
    draft.write(b"half")
    assert files(tmp_path) == {}
    draft.write(b"whole")
    draft.finish()
    draft.close()
    assert files(tmp_path) == {"x": b"halfwhole"}
    keep(cache, [b"00", b"x"], b"another")  # who is second keeps what is there
    assert files(tmp_path) == {"x": b"halfwhole"}
    cache.create([b"00", b"y"]).close()
    assert files(tmp_path) == {"x": b"halfwhole"}


def test_a_power_cut_leaves_no_name_of_half_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(fd: int) -> None:
        assert files(tmp_path) == {}
        raise OSError("power")

    monkeypatch.setattr(os, "fdatasync", cut)
    with pytest.raises(OSError, match="power"):
        keep(ArchiveCache(str(tmp_path), 100), [b"00", b"x"], b"half")
    assert files(tmp_path) == {}


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="larger"):
        keep(ArchiveCache(str(tmp_path), 5), [b"00", b"x"], b"123456")
    assert files(tmp_path) == {}


def test_what_nobody_asked_for_goes_first(tmp_path: Path) -> None:
    cache = ArchiveCache(str(tmp_path), 100)
    for age, name in enumerate((b"c", b"b", b"a")):
        keep(cache, [b"0%x" % age, name], bytes(40))
        path = tmp_path / f"0{age:x}" / name.decode()
        os.utime(path, (1000 + age, 5000))
    assert cache.make_room() == 1
    assert names(tmp_path) == {"b", "a"}
    assert cache.make_room() == 0
    cache.touch([b"01", b"b"])
    assert (tmp_path / "01/b").stat().st_mtime == 5000
    keep(cache, [b"04", b"d"], bytes(40))
    assert cache.make_room() == 1
    assert names(tmp_path) == {"b", "d"}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(bytes(1000))
    assert ArchiveCache(str(tmp_path), 1).make_room() == 0
    assert set(files(tmp_path)) == {"mine"}
