"""One running fastproxy with a fault proxy on each of its ways, and what must hold after a run."""

import http.client
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.contract.stores import multipart_target
from tests.flow.faults.matrix import PART, QUESTION, Ends, Pair, Row
from tests.flow.upload_site import SECRET, Client, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.monolith import Asked, Monolith, Said, Script, monolith, permit
from tests.support.waiting import eventually

SAMPLES = "fastproxy_loop_lag_seconds_count"  # grows each time that the gauges are set
KEPT = 16  # connections to the backend and the store that may be kept between two runs


@dataclass
class Run:
    """One row, and what came of it. `status`: the client's whole answer, 0: it got none."""

    row: Row
    path: str
    status: int = 0


@dataclass
class World:
    """`ways`: the fault proxy of each pair."""

    site: Site
    backend: Monolith
    bucket: Bucket
    ways: dict[Pair, FaultProxy]
    descriptors_before: int = 0

    def play(self, rows: Sequence[Row]) -> None:
        """Run the rows one after another, then look at what is left."""
        assert self.put("/s3/before", b"x") == 201
        self.descriptors_before = self.descriptors_before or self.descriptors()
        runs = [self.run(row) for row in rows]
        self.at_rest()
        for run in runs:
            self.judge(run)
        self.logged(runs)
        self.stored(runs)
        assert self.put("/s3/after", b"x") == 201

    def put(self, path: str, body: bytes) -> int:
        return self.site.put(path, body).status

    def run(self, row: Row) -> Run:
        run = Run(row, f"/{row.route}/{uuid.uuid4().hex}")
        way = self.ways[row.pair]
        fault = row.fault(run.path)
        way.expect(fault)
        port = self.ways[Pair.CLIENT].port
        with Client(port) as client:
            sending = threading.Thread(target=self.send, args=(client, run))
            sending.start()
            with suppress(OSError, http.client.HTTPException):
                run.status = client.response(20).status
            with suppress(OSError):
                client.sock.shutdown(socket.SHUT_RDWR)
            sending.join()
        way.expect()
        assert fault.met == 1, (row, "was never met")
        return run

    def send(self, client: Client, run: Run) -> None:
        row, body = run.row, body_of(run.row.size)
        if row.is_chunked:
            head, framed = request(run.path, b"Transfer-Encoding: chunked"), chunked(body)
        else:
            head, framed = request(run.path, b"Content-Length: %d" % len(body)), body
        with suppress(OSError):
            client.send(head + framed)

    # -- what must hold ------------------------------------------------------------------------

    def told(self, run: Run) -> list[Asked]:
        """What the backend heard: the report of an upload, or the request itself."""
        told = self.backend.reports if run.row.yes == 201 else self.backend.about
        return told(run.path)

    def judge(self, run: Run) -> None:
        """Whether it was acknowledged as the row says."""
        row, told = run.row, len(self.told(run))
        if row.ends is Ends.STORED:
            assert (told, run.status) == (1, row.yes), run
        elif row.ends is Ends.NOTHING:
            assert told == 0, run
            assert run.status in (0, 400, 408), run
        assert told <= 1, (run, "repeated")
        assert told == 1 or run.status != row.yes, run
        if row.pair is not Pair.CLIENT:
            was_begun = row.is_back and row.pair is Pair.BACKEND and row.when != QUESTION
            can_only_be_cut = was_begun and not run.status
            assert run.status in (row.yes, 502, 503, 504) or can_only_be_cut, run

    def at_rest(self) -> None:
        """Nothing is held; what was counted in was counted out."""
        self.site.at_rest()
        self.sampled()
        self.site.at_rest()
        eventually(lambda: self.site.metric("fastproxy_connections") == 0, "no client is left")
        self.bucket.without_unfinished()
        most = self.descriptors_before + KEPT
        eventually(lambda: self.descriptors() <= most, "no descriptor is left")

    def sampled(self) -> None:
        """Wait until gauges tell of now."""
        before = self.site.metric(SAMPLES)
        eventually(lambda: self.site.metric(SAMPLES) >= before + 2, "gauges were set")

    def descriptors(self) -> int:
        (worker,) = self.site.workers
        return len(list(Path(f"/proc/{worker}/fd").iterdir()))

    def logged(self, runs: Sequence[Run]) -> None:
        """Each request has one line, and each line is counted."""

        def counted() -> int:
            metrics = self.site.metrics().items()
            return int(sum(v for k, v in metrics if k.startswith("fastproxy_requests_total{")))

        eventually(lambda: len(self.site.lines()) == counted(), "as many lines as requests")
        paths = [line["path"] for line in self.site.lines()]
        for run in runs:
            assert paths.count(run.path) == run.row.reaches_us, run

    def stored(self, runs: Sequence[Run]) -> None:
        """What the backend accepted is there to the byte, and nothing else without a word."""
        keys = set()
        for run in runs:
            for asked in self.told(run):
                if run.row.yes == 200:
                    assert asked.body == body_of(run.row.size), run
                    continue
                key = asked.upload["key"]
                assert self.read(run.row.route, key) == body_of(run.row.size), run
                keys.add(key)
        before = {asked.upload["key"] for asked in list(self.backend.seen) if asked.is_report}

        def strangers() -> set[str]:
            errors = self.site.errors()
            found = {*self.bucket.keys(), *self.site.objects()} - keys - before
            return {key for key in found if key not in errors}

        eventually(lambda: not strangers(), "no object that nobody knows of")

    def read(self, route: str, key: str) -> bytes:
        return (self.site.local / key).read_bytes() if route == "files" else self.bucket.read(key)


def request(path: str, framing: bytes) -> bytes:
    return b"PUT %b HTTP/1.1\r\nHost: uploads.test\r\n%b\r\n\r\n" % (path.encode(), framing)


def chunked(body: bytes) -> bytes:
    """One chunk up to the edge of the first part, one behind it, so that places are the same."""
    pieces = [body[:PART], body[PART:]]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + LAST


LAST = b"0\r\n\r\n"
URLS = ("part_size", "part_urls", "complete_url", "abort_url", "get_url", "delete_url")


def signing(signer: Any, bucket: str) -> Script:
    """A backend that begins a multipart upload for what goes to /signed, and signs its URLs."""

    def authorize(asked: Asked) -> Said:
        if not asked.path.startswith("/signed/"):
            return permit()
        key = f"signed/{uuid.uuid4().hex}"
        target = multipart_target(signer, bucket, key, parts=2)
        return permit(key=key, presigned={name: getattr(target, name) for name in URLS})

    return authorize


@contextmanager
def world(home: Path, seaweed: Seaweed) -> Iterator[World]:
    """Deadlines are short, but no shorter than a loaded machine needs."""
    bucket = Bucket(seaweed, "matrix")
    store_port = urlsplit(seaweed.endpoint).port or 0
    with monolith(SECRET) as backend, fault_proxy("127.0.0.1", store_port) as to_store:
        backend_port = urlsplit(backend.address).port or 0
        with fault_proxy("127.0.0.1", backend_port) as to_backend:
            site = Site(
                home,
                backend,
                limits={"header_timeout": "1s", "body_timeout": "1s", "lingering_timeout": "1s"},
                to_backend={"address": to_backend.endpoint, "header_timeout": "2s"},
                store={
                    "objects": bucket.table(
                        home, endpoint=to_store.endpoint, timeout="2s", attempts=4
                    ),
                    "files": {"type": "local", "path": str(home / "objects")},
                },
                route=[
                    {"action": "upload", "path": "/s3/**", "store": "objects"},
                    {"action": "upload", "path": "/live/**", "store": "objects", "retain": False},
                    {"action": "upload", "path": "/files/**", "store": "files"},
                    {
                        "action": "upload",
                        "path": "/signed/**",
                        "store": "files",
                        "allowed_hosts": [urlsplit(to_store.endpoint).netloc],
                    },
                    {"action": "proxy", "path": "/plain/**"},
                    {"action": "proxy", "path": "/held/**", "buffer": "both"},
                ],
            )
            signer = replace(seaweed, endpoint=to_store.endpoint).client()
            backend.authorize = signing(signer, bucket.name)
            with running(site), fault_proxy("127.0.0.1", site.port) as from_client:
                ways = {
                    Pair.CLIENT: from_client,
                    Pair.BACKEND: to_backend,
                    Pair.STORE: to_store,
                }
                yield World(site, backend, bucket, ways)
                site.forgotten()
