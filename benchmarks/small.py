"""Requests one after another over 64 kept-alive connections: CPU for each."""

from pathlib import Path

from benchmarks.peers import LARGE, LOGGING, PLAIN
from benchmarks.question import Contestant, Peer, Question, Target
from benchmarks.wrk import WRK_NEED, cpu_per_request

SECONDS = 3
POST = ("-s", str(Path(__file__).with_name("post.lua")))
# What a browser sends; the answer has ten as well (origin.py).
BROWSER = (
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.7,de;q=0.3",
    "Cache-Control: no-cache",
    "Cookie: _session=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4; experiment=B; remember_token=eyJhbGciOiJI",
    "Referer: https://app.example.com/projects/17/issues?state=opened&sort=created_date",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)  # and Host, which wrk sends


def asking(
    title: str,
    path: str,
    *options: str,
    limit: float = 1.0,
    contestants: tuple[Contestant, ...] = PLAIN,
    known: str = "",
) -> Question:
    """CPU microseconds for a request of `path`; `limit`: times nginx's."""

    def ask(peer: Peer, scale: float) -> float:
        return cpu_per_request(peer, path, SECONDS * scale, *options)

    targets = (Target(limit, "nginx"),)
    return Question(title, "CPU us/request", ask, contestants, targets, (WRK_NEED,), known=known)


QUESTIONS = (
    asking("small request", "/", known="Workhorse 184-216"),
    asking("small request, access log", "/", limit=0.9, contestants=LOGGING),
    asking("10 header fields each way", "/headers", *(f"-H{line}" for line in BROWSER)),
    asking("answer of 10 KiB", "/bytes/10240"),
    asking("answer of 1 MiB", "/bytes/1048576", contestants=LARGE),
    asking("POST of 64 KiB", "/", *POST, contestants=LARGE),
)
