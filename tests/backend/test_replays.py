"""A token counts once, in one process, in all of a machine, and in all that share a cache."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastproxy.backend import (
    FolderReplays,
    Guard,
    MemoryReplays,
    Reason,
    RedisReplays,
    Refused,
    Replays,
)
from fastproxy.backend.django import CacheReplays
from fastproxy.backend.replays import Full
from fastproxy.protocol import AUTHORIZE
from tests.backend.honest import SECRET, ask_token
from tests.support.child import mortal
from tests.support.waiting import eventually

FAR = 4_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[bytes], Redis]]:
    """A Redis of our own, and a client of it."""
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        socket = f"{folder}/redis.sock"
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder]
        process = subprocess.Popen(mortal(["redis-server", *options]), stdout=subprocess.DEVNULL)
        client = Redis(unix_socket_path=socket, socket_timeout=20)
        try:
            eventually(Path(socket).exists, "redis")
            yield process, client
        finally:
            client.close()
            process.kill()
            process.wait()


@pytest.fixture
def redis(server: tuple[subprocess.Popen[bytes], Redis]) -> Redis:
    server[1].flushall()
    return server[1]


@pytest.fixture(params=["memory", "folder", "redis", "cache"])
def replays(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> Replays:
    cache: Any = LocMemCache("spent", {})
    cache.clear()
    stores: dict[str, Replays] = {
        "memory": MemoryReplays(),
        "folder": FolderReplays(tmp_path / "spent"),
        "redis": RedisReplays(redis),
        "cache": CacheReplays(cache),
    }
    return stores[request.param]


def test_a_nonce_counts_once(replays: Replays) -> None:
    assert replays.spend("one", FAR)
    assert not replays.spend("one", FAR)
    assert replays.spend("other/../\n", FAR)
    assert not replays.spend("other/../\n", FAR)
    assert not replays.spend("one", FAR)


def test_of_many_threads_one_is_the_first(replays: Replays) -> None:
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


def test_redis_is_told_how_long(redis: Redis) -> None:
    assert RedisReplays(redis).spend("old", 0)
    eventually(lambda: not redis.keys(), "forgotten")
    assert RedisReplays(redis, "ours:").spend("young", FAR)
    (key,) = redis.keys()
    assert key.startswith(b"ours:")
    assert redis.ttl(key) > 1_000_000


def test_without_redis_everything_is_refused() -> None:
    nowhere = Redis(unix_socket_path="/nonexistent/redis.sock", retry=Retry(NoBackoff(), 0))
    guard = Guard(SECRET, RedisReplays(nowhere))
    claims = guard.verify(AUTHORIZE, "PUT", "/uploads/a/authorize", ask_token())
    with pytest.raises(Refused) as refused:
        guard.ask(claims)
    assert refused.value.reason is Reason.UNCERTAIN
