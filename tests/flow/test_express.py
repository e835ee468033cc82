"""A whole worker does the same with plain requests and with those the express lane leaves alone."""

import os
import re
import signal
from typing import Any

import pytest

from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Origin, Peer, origin, response
from tests.support.waiting import eventually

PLAIN, NOT_PLAIN = b"Host: h", b"Host:  h"  # the general way takes two blanks for one
_VARIES = re.compile(rb"(X-Request-Id: )[0-9a-f]{32}|(Date: )[^\r]+")
_GETS = 'fastproxy_requests_total{route="%s",method="GET",code="%d"}'
_TRUSTED = 'trusted_proxies = ["127.0.0.1"]'
POST = b"POST /a HTTP/1.1\r\n%b\r\nContent-Length: 3\r\n\r\nabc"
SCRIPT = [
    b"GET /a HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /a?secret HTTP/1.1\r\n%b\r\nAccept: */*\r\nCookie: a=b\r\nTE: trailers\r\nX_A: b\r\n\r\n",
    POST,
    POST.replace(b"POST", b"PUT").replace(b"3", b"7000").replace(b"abc", b"b" * 7000),
    POST.replace(b"3", b"200000").replace(b"abc", b"b" * 200_000),
    b"HEAD /length HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /empty HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /unchanged HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /large HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /chunked HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /early HTTP/1.1\r\n%b\r\n\r\n",
    b"GET /close HTTP/1.1\r\n%b\r\n\r\n",
    b'GET /"quoted"\\path HTTP/1.1\r\n%b\r\n\r\n',
    b"GET /a/../../b HTTP/1.1\r\n%b\r\n\r\n",
    (
        b"GET /claims HTTP/1.1\r\n%b\r\nX-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n"
        b"X-Real-IP: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: o\r\nX-Request-Id: id-1\r\n\r\n"
    ),
    (
        b'GET /odd HTTP/1.1\r\n%b\r\nX-Forwarded-For: fe80::1%%"\\\r\nX-Forwarded-Proto: gopher\r\n'
        b"X-Request-Id: not one\r\n\r\n"
    ),
    b"DELETE /gone HTTP/1.1\r\n%b\r\nConnection: keep-alive\r\n\r\n",
]
ANSWERS = {
    b"/empty": b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
    b"/unchanged": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
    b"/large": response(bytes(range(256)) * 400, fields=b"Server: x\r\nfastproxy-a: b\r\n"),
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"/early": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + response(b"later"),
    b"/close": response(b"last", fields=b"Connection: close\r\n"),
    b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"/gone": response(b"", fields=b"Keep-Alive: timeout=60\r\nConnection: keep-alive\r\n"),
}


def answers(peer: Peer) -> None:
    while (request := peer.request()) is not None:
        peer.send(ANSWERS.get(request.target, response(request.body)))


def watched(pid: int) -> int:
    """How many descriptors its epoll sets have, but for the loop's own, which is the largest."""
    sets = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[eventpoll]":
            with open(f"/proc/{pid}/fdinfo/{fd}") as info:
                sets.append(sum(line.startswith("tfd:") for line in info))
    return sum(sorted(sets)[:-1])


def same(raw: bytes) -> bytes:
    """Without what differs from run to run."""
    return _VARIES.sub(rb"\1\2...", raw)


def seen(running: Proxy, backend: Origin, host: bytes, *, is_unix: bool) -> dict[str, Any]:
    """What comes of the script: at the client, at the backend, in the log and in the metrics."""
    counted = [("all", 200), ("all", 204), ("all", 304), ("_none", 400)]
    replies = []
    for request in SCRIPT:
        # By connections of its own, twice: the second one finds a kept connection to the backend.
        with running.unix_client() if is_unix else running.client() as client:
            for _ in range(2):
                client.send(request % host)
                reply = client.reply(is_head=request.startswith(b"HEAD"))
                replies.append((same(reply.raw_head), reply.body))
                if reply.header(b"connection") == b"close":
                    break
    records = running.logged(len(replies))
    for record in records:
        assert re.fullmatch("[0-9a-f]{32}|id-1", record["request_id"])
        for varies in ("time", "duration_s", "backend_s"):
            del record[varies]
        record["request_id"] = len(record["request_id"])
    eventually(lambda: running.metric("fastproxy_requests_in_flight") == 0, "at rest")
    requests = sorted(same(r.raw_head) + b"\n" + r.body for r in backend.requests)
    return {
        "replies": replies,
        "requests": requests,
        "records": records,
        "counts": [running.metric(_GETS % of) for of in counted],
    }


@pytest.mark.parametrize("server", ["", _TRUSTED], ids=["stranger", "trusted"])
@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
def test_spelling_makes_no_difference(server: str, is_unix: bool) -> None:
    found = []
    for host in (PLAIN, NOT_PLAIN):
        with (
            origin(answers) as backend,
            proxy(to_backend(backend.address, server=server)) as running,
        ):
            found.append(seen(running, backend, host, is_unix=is_unix))
    plain, not_plain = found
    assert all(plain["counts"])
    for what, value in not_plain.items():
        assert plain[what] == value, what


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_the_last_answer_of_a_worker_says_so(sign: signal.Signals) -> None:
    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.target == b"/slow":
                os.kill(running.process.pid, sign)
                eventually(lambda: not is_accepting(), "the worker drains")
            peer.send(response(request.target))

    def is_accepting() -> bool:
        return os.path.exists(f"/proc/{worker}") and running_worker() == worker

    def running_worker() -> int | None:
        try:
            return running.worker
        except (AssertionError, OSError):
            return None

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        worker = running.worker
        with running.client() as client:
            assert client.get("/first").header(b"connection") is None
            reply = client.get("/slow")
            assert reply.body == b"/slow"
            assert reply.header(b"connection") == b"close"
            assert client.is_at_eof()


def test_many_plain_requests_leave_nothing_in_a_worker() -> None:
    with origin(answers) as backend, proxy(to_backend(backend.address)) as running:

        def cycles(count: int) -> None:
            for number in range(count):
                with running.client() as client:
                    client.get("/a")
                    client.send(POST % PLAIN)
                    if number % 2:
                        client.reset()

        def is_at_rest() -> bool:
            at_rest = running.connections() == 0
            return at_rest and running.metric("fastproxy_requests_in_flight") == 0

        cycles(50)
        eventually(is_at_rest, "at rest")
        descriptors = running.descriptors()
        cycles(1000)
        eventually(is_at_rest, "at rest")
        eventually(lambda: running.descriptors() <= descriptors + 2, "descriptors closed")


def test_both_connections_of_plain_requests_are_read_past_the_loop_until_they_end() -> None:
    with origin(answers) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            for _ in range(3):
                assert client.get("/a").status == 200
            assert watched(running.worker) == 2
        eventually(lambda: watched(running.worker) == 1, "the client is no longer read")
        assert running.get("/close").body == b"last"
        eventually(lambda: watched(running.worker) == 0, "nobody is left")


def test_the_log_tells_the_backends_time_from_all_of_it() -> None:
    with origin() as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            for _ in range(20):
                assert client.get().status == 200
        first, *express = running.logged(20)
        times = [(each["backend_s"], each["duration_s"]) for each in (first, *express)]
        assert all(0 < of_backend <= in_all for of_backend, in_all in times)
        assert any(of_backend < in_all for of_backend, in_all in times[1:])
