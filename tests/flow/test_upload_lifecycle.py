"""Uploads while processes are killed, drained and replaced."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flow.upload_site import MIB, SECRET, Client, Site, body_of, running
from tests.flow.upload_world import Bucket, UploadWorld
from tests.servers.seaweed import Seaweed
from tests.support.monolith import Said, Withheld, monolith
from tests.support.waiting import eventually

CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass
class World(UploadWorld):
    def begin(self, path: str, sent: int, size: int) -> tuple[Client, bytes]:
        """An upload of `size` bytes of which `sent` are sent; what is left to send."""
        client, body = self.site.client(), body_of(size)
        client.head("PUT", path, CHUNKED)
        client.send(b"%x\r\n" % size + body[:sent])
        return client, body[sent:] + b"\r\n0\r\n\r\n"


@contextmanager
def started(home: Path, seaweed: Seaweed, **server: Any) -> Iterator[World]:
    """A site of its own."""
    bucket = Bucket(seaweed, "life")
    with monolith(SECRET) as backend:
        site = Site(
            home,
            backend,
            server=server,
            to_backend={"max_connections": 1},
            store={"objects": bucket.table(home)},
            route=[{"action": "upload", "path": "/s3/**", "store": "objects"}],
        )
        with running(site):
            yield World(site, backend, bucket)


def test_a_killed_worker_leaves_no_multipart_upload(tmp_path: Path, seaweed: Seaweed) -> None:
    with started(tmp_path, seaweed) as world:
        client, _ = world.begin("/s3/killed", 17 * MIB, 30 * MIB)
        with client:
            eventually(lambda: world.bucket.parts() >= 3, "three parts are stored")
            (worker,) = world.site.workers
            os.kill(worker, signal.SIGKILL)
            world.bucket.without_unfinished()
        world.site.until_ready()
        assert world.site.put("/s3/again", b"x").status == 201
        assert world.site.workers != [worker]
        assert len(world.bucket.keys()) == 1
        assert world.site.metric("fastproxy_orphans_aborted_total") == 1
        assert world.site.journal() == []


def test_a_start_after_a_kill_of_everything_cleans_up(tmp_path: Path, seaweed: Seaweed) -> None:
    report = Withheld(Said(201))
    with started(tmp_path, seaweed) as world:
        client, _ = world.begin("/s3/killed", 12 * MIB, 30 * MIB)
        with client:
            eventually(lambda: world.bucket.parts() >= 2, "two parts are stored")
            world.backend.report = report
            reported, rest = world.begin("/s3/reported", 0, 100)
            reported.send(rest)
            eventually(lambda: world.backend.reports("/s3/reported"), "reported")
            world.site.kill()
            reported.sock.close()
        report.released.set()
        assert len(world.bucket.unfinished()) == 1
        world.site.start()
        world.bucket.without_unfinished()
        world.site.at_rest()
        # what was reported may be relied on by the backend
        assert len(world.bucket.keys()) == 1


def test_sigterm_lets_an_upload_finish(tmp_path: Path, seaweed: Seaweed) -> None:
    with started(tmp_path, seaweed, drain="1s", upload_drain="30s") as world:
        client, rest = world.begin("/s3/drained", 6 * MIB, 12 * MIB)
        with client, world.site.client() as idle:
            eventually(lambda: world.bucket.parts() >= 1, "a part is stored")
            os.kill(world.site.pid, signal.SIGTERM)
            assert idle.sock.recv(1) == b""
            eventually(lambda: not accepts(world.site), "refuses connections")
            assert client.nothing_for(1.5)  # longer than ordinary requests get
            client.send(rest)
            answer = client.response()
            assert world.bucket.read(answer.upload["key"]) == body_of(12 * MIB)
            assert answer.headers["Connection"] == "close"
        assert ended(world.site) == 0


def test_a_report_under_way_is_waited_for_although_the_client_left(
    tmp_path: Path, seaweed: Seaweed
) -> None:
    report = Withheld(Said(409))
    with started(tmp_path, seaweed, drain="1s", upload_drain="30s") as world:
        world.backend.report = report
        client, rest = world.begin("/s3/reported", 0, 100)
        client.send(rest)
        assert report.reached.wait(10)
        client.reset()
        assert len(world.bucket.keys()) == 1
        os.kill(world.site.pid, signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            ended(world.site, within=3)
        report.released.set()
        assert ended(world.site) == 0
        assert world.bucket.keys() == []


def test_an_upload_is_cut_at_the_end_of_its_drain(tmp_path: Path, seaweed: Seaweed) -> None:
    with started(tmp_path, seaweed, drain="500ms", upload_drain="1s") as world:
        client, _ = world.begin("/s3/cut", 12 * MIB, 30 * MIB)
        with client:
            eventually(lambda: world.bucket.parts() >= 2, "two parts are stored")
            os.kill(world.site.pid, signal.SIGTERM)
            assert ended(world.site) == 0
        assert world.bucket.unfinished() == []
        assert world.bucket.keys() == []
        line = world.site.line("/s3/cut")
        assert (line["end"], line["error_kind"]) == ("ours", "shutting-down")


def test_sighup_does_not_disturb_an_upload(tmp_path: Path, seaweed: Seaweed) -> None:
    with started(tmp_path, seaweed) as world:
        client, rest = world.begin("/s3/reloaded", 6 * MIB, 12 * MIB)
        with client:
            eventually(lambda: world.bucket.parts() >= 1, "a part is stored")
            old = world.site.workers
            os.kill(world.site.pid, signal.SIGHUP)
            ready = 'fastproxy_config_reloads_total{result="ok"}'
            eventually(lambda: world.site.metric(ready) == 1, "reloaded")
            eventually(lambda: set(world.site.workers) - set(old), "a new worker")
            assert world.site.put("/s3/other", b"x").status == 201
            assert world.bucket.unfinished() != []  # the new worker must not undo what lives
            client.send(rest)
            told = client.response().upload
        assert world.bucket.read(told["key"]) == body_of(12 * MIB)
        eventually(lambda: not set(world.site.workers) & set(old), "the old worker ends")


def test_every_upload_has_one_line_in_the_access_log(tmp_path: Path, seaweed: Seaweed) -> None:
    with started(tmp_path, seaweed) as world:
        assert world.site.put("/s3/first?token=s3cr3t", body_of(12 * MIB)).status == 201
        world.backend.report = lambda asked: Said(409, b"no!")
        fields = {"Authorization": "Bearer s3cr3t"}
        assert world.site.put("/s3/second", b"1234", **fields).status == 409
        world.site.line("/s3/second")
        first, second = world.site.lines()
        assert first["path"] == "/s3/first"
        assert first["route"] == "/s3/**"
        assert first["method"] == "PUT"
        assert first["status"] == 201
        assert first["bytes_in"] == first["upload_bytes"] == 12 * MIB
        assert first["parts"] == 3
        assert first["end"] == "ok"
        assert first["bytes_out"] > 100
        assert first["duration_s"] >= first["backend_s"] > 0
        assert (second["status"], second["end"], second["bytes_out"]) == (409, "ok", 3)
        assert (second["upload_bytes"], second["parts"]) == (4, 1)


def accepts(site: Site) -> bool:
    """Does anybody listen?"""
    try:
        site.client().sock.close()
    except ConnectionRefusedError:
        return False
    return True


def ended(site: Site, within: float = 20) -> int:
    assert site.process is not None
    return site.process.wait(within)
