"""Uploads taken over into an object store, beside nginx, which only passes the same body through.

The store is `benchmarks/sink.py` on the load's core. Sequential parts are our own with
`part_concurrency = 1`: one part flies while the next one fills, which is faster than sending a
part, waiting for its answer, and only then reading on.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.bodies import CHUNK, GIB, SIZE, UNIT, upload
from benchmarks.peers import NGINX, ours
from benchmarks.processes import LOAD_CORE, free_port, running, wait_for
from benchmarks.question import OURS, Contestant, Peer, Question, Site, Target

GO_CHUNK = 32 * 1024  # what clients written in Go send, GitLab Runner among them
NAMES = ("md5", "sha1", "sha256", "sha512")
HASHES = str(list(NAMES)).replace("'", '"')
ALONE = "hashes alone"
WORKHORSE = 8.4  # CPU s/GiB with these hashes
SLOW_MS = 50
SLOW_SIZE = 16 * 8 << 20  # parts of the default size
ONE_BY_ONE = "one by one"


def storing(name: str = OURS, delay_ms: int = 0, **values: str) -> Contestant:
    """Ours in front of a store of its own, whose parts wait `delay_ms` for their answers."""
    values = {"HASHES": "[]", "CONCURRENCY": "4", "RETAIN": "true", **values}

    @contextmanager
    def start(site: Site) -> Iterator[Peer]:
        port, log = free_port(), site.directory / "sink.log"
        command = [sys.executable, "-m", "benchmarks.sink", str(port)]
        with running([*command, "--delay-ms", str(delay_ms)], LOAD_CORE, log):
            wait_for(port, log)
            with ours("uploads.toml", STORE=str(port), **values).start(site) as peer:
                upload(peer, "/uploads/x", CHUNK)  # a worker imports aioboto3 when it has begun
                yield replace(peer, name=name)

    return Contestant(name, start)


def uploading(chunk: int | None = CHUNK) -> Callable[[Peer, float], float]:
    """CPU seconds a GiB for a body in chunks of this size, or of known length."""

    def ask(peer: Peer, scale: float) -> float:
        path = "/x" if peer.name == "nginx" else "/uploads/x"
        return upload(peer, path, int(SIZE * scale), chunk)

    return ask


@contextmanager
def _nobody(site: Site) -> Iterator[Peer]:
    yield Peer(ALONE, 0, os.getpid(), site.directory)


def hashing(peer: Peer, scale: float) -> float:
    """CPU seconds a GiB for a stored body and its hashes, or for the hashes alone."""
    if peer.name != ALONE:
        return uploading()(peer, scale)
    size, piece = int(SIZE * scale), bytes(64 * 1024)  # which stays in the cache
    digests = [hashlib.new(name, usedforsecurity=False) for name in NAMES]
    began = time.process_time()
    for _ in range(size // len(piece)):
        for digest in digests:
            digest.update(piece)
    return (time.process_time() - began) * GIB / size


def seconds(peer: Peer, scale: float) -> float:
    """Wall time of one upload."""
    began = time.monotonic()
    upload(peer, "/uploads/x", int(SLOW_SIZE * scale))
    return time.monotonic() - began


QUESTIONS = (
    Question(
        "chunked upload stored", UNIT, uploading(), (storing(), NGINX), (Target(0.7, "nginx"),)
    ),
    Question(
        "upload in chunks of 32 KiB stored",
        UNIT,
        uploading(GO_CHUNK),
        (storing(), NGINX),
        (Target(0.7, "nginx"),),
    ),
    Question(
        "upload of known length stored",
        UNIT,
        uploading(None),
        (storing(), NGINX),
        (Target(0.7, "nginx"),),
    ),
    Question(
        "upload of known length stored as it comes",
        UNIT,
        uploading(None),
        (storing(RETAIN="false"), NGINX),
        (Target(0.7, "nginx"),),
    ),
    Question(
        "chunked upload stored, four hashes",
        UNIT,
        hashing,
        (storing(HASHES=HASHES), NGINX, Contestant(ALONE, _nobody)),
        (Target(0.4 * WORKHORSE),),
        known=f"Workhorse {WORKHORSE}",
    ),
    Question(
        f"16 parts into a store of {SLOW_MS} ms",
        "s",
        seconds,
        (storing(delay_ms=SLOW_MS), storing(ONE_BY_ONE, SLOW_MS, CONCURRENCY="1")),
        (Target(0.333, ONE_BY_ONE),),
    ),
)
