"""A token counts once, in one process, in all of a machine, and in all that share a cache."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from fastproxy.backend import FolderReplays, MemoryReplays, RedisReplays, Replays
from fastproxy.backend.django import CacheReplays
from fastproxy.backend.replays import Full

FAR = 4_000_000_000


class OneRedis:
    """SET with NX and EX, as Redis has it."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    def set(self, key: str, value: bytes, *, nx: bool, ex: int) -> bool | None:
        assert nx
        assert ex > 0
        if key in self.kept:
            return None
        self.kept[key] = ex
        return True


def stores(folder: Path) -> list[Replays]:
    cache: Any = LocMemCache("spent", {})
    cache.clear()
    return [
        MemoryReplays(),
        FolderReplays(folder / "spent"),
        RedisReplays(OneRedis()),
        CacheReplays(cache),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_nonce_counts_once(number: int, tmp_path: Path) -> None:
    replays = stores(tmp_path)[number]
    assert replays.spend("one", FAR)
    assert not replays.spend("one", FAR)
    assert replays.spend("other/../\n", FAR)
    assert not replays.spend("other/../\n", FAR)
    assert not replays.spend("one", FAR)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_of_many_threads_one_is_the_first(number: int, tmp_path: Path) -> None:
    replays = stores(tmp_path)[number]
    for jti in map(str, range(50)):
        start = threading.Barrier(4)
        found: list[bool] = []

        def spend(jti: str = jti, start: Any = start, found: Any = found) -> None:
            start.wait(20)
            found.append(replays.spend(jti, FAR))

        threads = [threading.Thread(target=spend) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [False, False, False, True]


def test_memory_forgets_what_has_expired_and_nothing_else() -> None:
    now = [100.0]
    replays = MemoryReplays(capacity=2, clock=lambda: now[0])
    assert replays.spend("late", 300)
    assert replays.spend("soon", 200)
    with pytest.raises(Full):
        replays.spend("third", 300)
    assert not replays.spend("late", 300)
    now[0] = 201.0
    assert replays.spend("third", 300)
    assert not replays.spend("late", 300)
    with pytest.raises(Full):
        replays.spend("fourth", 300)


def test_a_folder_forgets_what_has_expired_and_nothing_else(tmp_path: Path) -> None:
    ours, theirs = FolderReplays(tmp_path / "spent"), FolderReplays(tmp_path / "spent")
    assert ours.spend("old", 1000)
    assert ours.spend("young", FAR)
    assert not theirs.spend("young", FAR)
    later = FolderReplays(tmp_path / "spent", clock=lambda: FAR - 100)
    assert not later.spend("young", FAR)
    assert len(list((tmp_path / "spent").iterdir())) == 1


def test_a_folder_counts_for_all_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from fastproxy.backend import FolderReplays; "
        f"print(sum(FolderReplays(sys.argv[1]).spend(str(n), {FAR}) for n in range(300)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "spent")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in both) == 300


def test_a_cache_is_told_how_long() -> None:
    client = OneRedis()
    RedisReplays(client).spend("old", 0)
    RedisReplays(client).spend("young", FAR)
    old, young = client.kept.values()
    assert old == 1
    assert young > 1_000_000
    assert all(key.startswith("fastproxy:spent:") for key in client.kept)
