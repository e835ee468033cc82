"""Files that a backend orders to be sent in its place, by X-Accel-Redirect at nginx and at us."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.bodies import UNIT, download
from benchmarks.origin import SENT
from benchmarks.peers import nginx, ours
from benchmarks.question import Contestant, Peer, Question, Site, Target
from benchmarks.small import SECONDS
from benchmarks.wrk import WRK_NEED, cpu_per_request

SMALL, LARGE = SENT
TIMES = 5  # that the large one is taken for one figure
LOCATION = """location /files/ {
      internal;
      alias @DIRECTORY@/files/;
      sendfile on;
      tcp_nopush on;
    }"""


def _with_files(contestant: Contestant) -> Contestant:
    """Real bytes, not holes."""

    @contextmanager
    def start(site: Site) -> Iterator[Peer]:
        files = site.directory / "files"
        files.mkdir(exist_ok=True)
        for size in SENT:
            (files / f"{size}").write_bytes(b"x" * size)
        with contestant.start(site) as peer:
            yield peer

    return replace(contestant, start=start)


def _large(peer: Peer, scale: float) -> float:
    times = max(1, round(TIMES * scale))
    return sum(download(peer, f"/sent/{LARGE}", LARGE) for _ in range(times)) / times


def _small(peer: Peer, scale: float) -> float:
    return cpu_per_request(peer, f"/sent/{SMALL}", SECONDS * scale)


# The directory is this user's alone.
CONTESTANTS = (
    _with_files(ours("sending.toml")),
    _with_files(nginx(USER="user root;", LOCATIONS=LOCATION)),
)
TARGETS = (Target(1.0, "nginx"),)
QUESTIONS = (
    Question(
        "file of 10 KiB in place", "CPU us/request", _small, CONTESTANTS, TARGETS, (WRK_NEED,)
    ),
    Question("file of 100 MiB in place", UNIT, _large, CONTESTANTS, TARGETS),
)
