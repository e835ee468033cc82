"""Thousands of slow uploads in little memory: all arrive, and the worker keeps its bounds."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accounting import resident_bytes
from tests.flow.upload_site import MIB, REPOSITORY, SECRET, Client, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.monolith import Asked, Said, monolith, permit
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(400)  # half a minute on an idle machine; CI may be anything else

SLAB = 64 << 10
# Beside the budget. A slow upload is a transport, protocol, decoder, exchange, question, task and
# chunker; measured 16 KiB each with all that grows beside them, granted 24. The rest: connections
# to the store and the backend, threads and the heap's own slack.
PER_UPLOAD = 24 << 10
REST = 16 * MIB


@dataclass
class Watch:
    """The highest values seen while it looked."""

    site: Site
    rss: int = 0
    peaks: dict[str, float] = field(default_factory=dict)
    slabs: float = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        (worker,) = self.site.workers
        while not self._over.wait(0.1):
            self.rss = max(self.rss, resident_bytes(worker))
            metrics = self.site.metrics()
            for name, value in metrics.items():
                self.peaks[name] = max(self.peaks.get(name, 0.0), value)
            used, free = (metrics[f'fastproxy_slabs{{state="{s}"}}'] for s in ("used", "free"))
            self.slabs = max(self.slabs, used + free)

    @contextmanager
    def looking(self) -> Iterator["Watch"]:
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()


@dataclass
class World:
    site: Site
    bucket: Bucket

    def load(self, count: int, seconds: float) -> list[dict[str, Any]]:
        """What the load process saw of its uploads."""
        command = [sys.executable, "-m", "tests.flow.trickle", str(self.site.port), "/s3/"]
        command += [str(count), str(seconds), "11"]
        done = subprocess.run(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, timeout=280, check=True
        )
        seen: list[dict[str, Any]] = json.loads(done.stdout)
        return seen

    def check(self, uploads: list[dict[str, Any]]) -> None:
        """Every object is what was sent, as somebody else reads it."""

        def one(upload: dict[str, Any]) -> None:
            assert upload["status"] == 201, (upload, self.site.errors()[-2000:])
            told = json.loads(upload["answer"])["upload"]
            stored = self.bucket.read(told["key"])
            assert (told["size"], len(stored)) == (upload["size"], upload["size"])
            assert hashlib.sha256(stored).hexdigest() == upload["sha256"]

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(one, uploads))


@contextmanager
def started(
    home: Path, seaweed: Seaweed, store: Mapping[str, Any] | None = None, **memory: Any
) -> Iterator[World]:
    bucket = Bucket(seaweed, "memory")
    with monolith(SECRET) as backend:
        site = Site(
            home,
            backend,
            memory=memory,
            to_backend={"max_connections": 32, "queue": 4096, "queue_timeout": "60s"},
            store={"objects": bucket.table(home, **(store or {}))},
            route=[
                {
                    "action": "upload",
                    "path": "/s3/**",
                    "store": "objects",
                    "allowed_hosts": ["127.0.0.1", "localhost"],
                },
            ],
        )
        with running(site):
            assert site.put("/s3/warm", b"x" * 100_000).status == 201  # libraries are loaded now
            site.at_rest()
            yield World(site, bucket)


def test_2000_slow_uploads_in_64_mib(tmp_path: Path, seaweed: Seaweed) -> None:
    count, budget = 2000, 64 * MIB
    with started(tmp_path, seaweed, budget="64MiB", spill_budget="1GiB") as world:
        (worker,) = world.site.workers
        before = resident_bytes(worker)
        with Watch(world.site).looking() as watch:
            uploads = world.load(count, 8)
        world.site.at_rest()
        world.check(uploads)
        assert sum(upload["size"] for upload in uploads) > 3 * budget
        assert watch.peaks["fastproxy_slabs_peak"] <= watch.slabs
        assert watch.slabs * SLAB < budget
        assert watch.peaks["fastproxy_spilled_bytes"] > budget
        assert watch.rss < before + budget + count * PER_UPLOAD + REST


def test_without_a_disk_uploads_pause_and_still_arrive(tmp_path: Path, seaweed: Seaweed) -> None:
    budget = 16 * MIB
    with started(tmp_path, seaweed, budget="16MiB", spill_budget="0B") as world:
        with Watch(world.site).looking() as watch:
            uploads = world.load(200, 3)
        world.site.at_rest()
        world.check(uploads)
        assert sum(upload["size"] for upload in uploads) > budget
        assert watch.peaks["fastproxy_paused_uploads"] > 0
        assert watch.peaks["fastproxy_spilled_bytes"] == 0
        assert watch.peaks["fastproxy_slabs_peak"] <= watch.slabs
        assert watch.slabs * SLAB < budget


def test_a_full_queue_refuses_and_a_vanished_client_frees_its_place(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    with started(tmp_path, seaweed, budget="16MiB", spill_budget="0B", queue=3) as world:
        clients = [begin(world.site, number) for number in range(60)]
        paused = "fastproxy_paused_uploads"
        eventually(lambda: world.site.metric(paused) >= 3, "the queue is full")
        answer = world.site.put("/s3/one-more", b"x" * 1000)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.body == b"503 ours: memory-short\n"
        for client in clients:
            client.reset()
        eventually(lambda: world.site.metric(paused) == 0, "nobody waits", within=30)
        world.site.at_rest()
        assert world.site.put("/s3/one-more", b"x" * 1000).status == 201


def test_one_signed_put_that_neither_memory_nor_disk_holds(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    """Known lengths pass through; of unknown ones, what can never be held is refused in time."""
    body = body_of(40 * MIB)
    with started(tmp_path, seaweed, budget="16MiB", spill_budget="24MiB") as world:
        urls = signed(world.bucket, "one")
        world.site.backend.authorize = lambda asked: permit(key="one", presigned=urls)
        assert world.site.put("/s3/known", body).upload["size"] == len(body)
        assert world.bucket.read("one") == body
        with world.site.client() as client:
            client.head("PUT", "/s3/unknown", {"Transfer-Encoding": "chunked"})
            client.chunks(body[: 25 * MIB], (MIB,))
            assert client.response().status == 413
        with world.site.client() as client:
            client.head("PUT", "/s3/smaller", {"Transfer-Encoding": "chunked"})
            client.chunks(body[: 23 * MIB], (MIB,))
            assert client.response().upload["size"] == 23 * MIB
        world.site.at_rest()


def test_signed_puts_that_fit_alone_and_not_together_are_stored_one_after_another(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    """Of unknown length, all at once; what comes in parts goes on meanwhile."""
    with started(tmp_path, seaweed, budget="16MiB", spill_budget="24MiB") as world:
        keys = ["one", "two", "three"]
        targets = {key: permit(key=key, presigned=signed(world.bucket, key)) for key in keys}
        plain = world.site.backend.authorize

        def authorize(asked: Asked) -> Said:
            key = asked.path.split("/")[2]
            return targets[key] if key in targets else plain(asked)

        world.site.backend.authorize = authorize
        body = body_of(18 * MIB)
        with ExitStack() as stack:
            clients = {key: stack.enter_context(world.site.client()) for key in keys}
            for key, client in clients.items():
                client.head("PUT", f"/s3/{key}", {"Transfer-Encoding": "chunked"})
            with ThreadPoolExecutor(len(keys)) as threads:
                sent = [threads.submit(client.chunks, body, (MIB,)) for client in clients.values()]
                with world.site.client() as ordinary:
                    ordinary.head("PUT", "/s3/parts", {"Transfer-Encoding": "chunked"})
                    ordinary.chunks(body, (MIB,))
                    assert ordinary.response().upload["size"] == len(body)
                for each in sent:
                    each.result(60)
            for key, client in clients.items():
                assert client.response().upload["size"] == len(body)
                assert world.bucket.read(key) == body
        world.site.at_rest()


def test_equal_parts_larger_than_memory_are_collected_on_disk(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    equal: dict[str, Any] = {"part_size": "20MiB", "equal_parts": True}
    memory: dict[str, Any] = {"budget": "16MiB", "spill_budget": "64MiB"}
    with started(tmp_path, seaweed, store=equal, **memory) as world:
        body = body_of(45 * MIB)
        with world.site.client() as client:
            client.head("PUT", "/s3/equal", {"Transfer-Encoding": "chunked"})
            client.chunks(body, (MIB,))
            told = client.response().upload
        assert (told["size"], told["parts"]) == (len(body), 3)
        assert world.bucket.read(told["key"]) == body
        world.site.at_rest()


def test_who_falls_silent_without_a_disk_gives_its_memory_back_within_the_grace(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    """Their tails are too small for a part; between two reads a body may take a minute."""
    memory: dict[str, Any] = {"budget": "16MiB", "spill_budget": "0B", "stall_timeout": "1s"}
    with started(tmp_path, seaweed, **memory) as world:
        silent = [begin(world.site, number) for number in range(20)]
        paused = "fastproxy_paused_uploads"
        eventually(lambda: world.site.metric(paused) >= 1, "memory is short")
        body = body_of(12 * MIB)
        with world.site.client() as client:
            client.head("PUT", "/s3/late", {"Transfer-Encoding": "chunked"})
            client.chunks(body, (MIB,))
            assert client.response(timeout=20).upload["size"] == len(body)
        ended = [client for client in silent if not client.nothing_for(0.05)]
        assert ended
        answers = [client.response() for client in ended]
        assert {answer.status for answer in answers} == {408}
        assert {answer.body for answer in answers} == {b"408 client: too-slow\n"}
        for client in silent:
            client.reset()
        world.site.at_rest()


def signed(bucket: Bucket, key: str) -> dict[str, str]:
    """The URLs of a permission for one PUT."""
    return {
        f"{name}_url": bucket.client.generate_presigned_url(
            f"{name}_object", Params={"Bucket": bucket.name, "Key": key}
        )
        for name in ("put", "get", "delete")
    }


def begin(site: Site, number: int) -> Client:
    """An upload that sends most of a megabyte, as far as it is taken, and no more."""
    client = site.client()
    client.head("PUT", f"/s3/held/{number}", {"Transfer-Encoding": "chunked"})
    client.send(b"%x\r\n" % MIB)
    client.sock.setblocking(False)
    client.sock.send(bytes(MIB - 1))
    client.sock.setblocking(True)
    return client
