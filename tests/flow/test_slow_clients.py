"""Clients that are slow on purpose: slowhttptest in its four modes, and a backend that drips.

Each attack has a few hundred connections. None of them lasts beyond its deadline, memory stays
within what the configuration says a client may take, and somebody else is answered all the while.
"""

import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.accounting import resident_bytes
from fastproxy.config.worst_case import AHEAD, CONNECTION, RELAY
from tests.support.child import mortal
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually

ATTACKERS = 300
HEADER_BYTES = 8 << 10
BUSY_CLIENT = CONNECTION + HEADER_BYTES + RELAY + AHEAD  # as config/worst_case.py has it
POOLED = 128  # connections to the backend that may be kept
SLACK = 8 << 20  # what a worker learns once: caches, the allocator's own

LIMITS = """
header_timeout = "2s"
header_bytes = "8KiB"
idle_timeout = "2s"
min_body_rate = "1KiB"
rate_grace = "1s"
send_timeout = "1s"
lingering_timeout = "1s"
"""

# Flags of slowhttptest, and for what every one of its connections is ended; "": it is answered.
ATTACKS = {
    "heads that never end": (["-H"], "too-slow"),
    "bodies that hardly come": (["-B"], "too-slow"),
    "answers that are hardly read": (["-X", "-w1", "-y512", "-n1", "-z5"], "client-gone"),
    "hundreds of ranges": (["-R", "-b1000"], ""),
}


def large(peer: Peer) -> None:
    """What no socket buffer holds, or a word to those who ask for one."""
    while (request := peer.request()) is not None:
        peer.send(response(b"word" if request.target == b"/word" else bytes(4 << 20)))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    files = tmp_path_factory.mktemp("files")
    (files / "large").write_bytes(bytes(4 << 20))
    static = f'[[route]]\npath = "/large"\naction = "static"\nroot = "{files}"\n'
    with origin(large) as backend:
        text = to_backend(backend.address, limits=LIMITS)
        with proxy(text.replace("[[route]]", static + "[[route]]", 1)) as running:
            yield running


def attack(running: Proxy, flags: list[str], target: str) -> "subprocess.Popen[bytes]":
    url = f"http://127.0.0.1:{running.port}{target}"
    shape = ["-c", str(ATTACKERS), "-r", str(ATTACKERS), "-i", "1", "-l", "60", "-u", url]
    command = mortal(["slowhttptest", *shape, *flags])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(("flags", "kind"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_ends_by_our_deadlines_and_harms_nobody(
    front: Proxy, flags: list[str], kind: str
) -> None:
    assert front.get("/word").body == b"word"
    eventually(lambda: front.connections() == 0, "quiet")
    rejected = f'fastproxy_rejected_total{{reason="{kind}"}}'
    goal = front.metric(rejected) + (ATTACKERS if kind else 0)
    worker, descriptors = front.worker, front.descriptors()
    rss = most = resident_bytes(worker)
    answered = 0
    with attack(front, flags, "/" if kind else "/large") as process, front.client() as friend:
        try:
            while process.poll() is None and (not kind or front.metric(rejected) < goal):
                assert friend.get("/word").body == b"word"
                answered += 1
                most = max(most, resident_bytes(worker))
        finally:
            process.kill()
    assert answered
    assert most - rss < ATTACKERS * BUSY_CLIENT + SLACK
    eventually(lambda: front.metric(rejected) >= goal, "each met its deadline")
    eventually(lambda: front.connections() == 0, "all gone")
    assert front.metric("fastproxy_requests_in_flight") == 0
    eventually(lambda: front.descriptors() <= descriptors + POOLED, "nothing is left")
