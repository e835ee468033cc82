"""Long polls with a real Redis: held, woken, passed on; and what becomes of them when it dies."""

import json
import os
import resource
import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.servers.redis import RedisServer, redis_server
from tests.support.client import Client, Reply
from tests.support.harness import Proxy, proxy
from tests.support.origin import Origin, origin
from tests.support.waiting import eventually

KEY = "runner:build_queue:"


@dataclass
class World:
    """A backend that echoes bodies, behind a proxy that holds polls."""

    redis: RedisServer
    backend: Origin
    proxy: Proxy

    def waiting(self, count: int) -> None:
        eventually(lambda: self.proxy.metric("fastproxy_polls_waiting") == count, f"{count} wait")

    def ended(self, end: str) -> float:
        return self.proxy.metric(f'fastproxy_polls_total{{end="{end}"}}')

    def is_connected(self) -> bool:
        return self.proxy.metric("fastproxy_redis_connected") == 1


def configuration(redis: RedisServer, backend: Origin, poll: str, layout: str, more: str) -> str:
    return f"""
[redis]
url = "{redis.url}"
channel = "workhorse:notifications"
channels = "{layout}"
longest_pause = "200ms"
[backend.default]
address = "{backend.address}"
[[route]]
action = "proxy"
name = "jobs"
path = "/api/v4/jobs/request"
[route.poll]
key = "json:token"
last = "json:last_update"
key_prefix = "{KEY}"
headers = {{ Gitlab-Ci-Builds-Polling = "yes" }}
{poll}
{more}
"""


@contextmanager
def world(
    poll: str = "", *, layout: str = "one", is_started: bool = True, more: str = ""
) -> Iterator[World]:
    with (
        redis_server(is_started=is_started) as redis,
        origin() as backend,
        proxy(configuration(redis, backend, poll, layout, more)) as running,
    ):
        made = World(redis, backend, running)
        if is_started:
            eventually(made.is_connected, "connected")
        yield made


def ask(
    client: Client,
    token: str = "t",
    last: str = "1",
    *,
    kind: str = "application/json",
    more: str = "",
) -> bytes:
    """Send a runner's request; its body."""
    body = json.dumps({"token": token, "last_update": last, "info": {"name": "runner"}}).encode()
    head = f"POST /api/v4/jobs/request HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\n{more}"
    client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return body


def is_unchanged(reply: Reply) -> bool:
    """Workhorse's answer to a poll: the runner keeps what it knows, and asks again."""
    assert reply.header(b"gitlab-ci-builds-polling") == b"yes"
    assert reply.header(b"x-gitlab-last-update") is None
    assert reply.header(b"content-length") is None
    return reply.status == 204


def is_passed(reply: Reply, body: bytes) -> bool:
    """The backend answered: it echoes."""
    assert reply.header(b"gitlab-ci-builds-polling") == b"yes"
    return reply.status == 200 and reply.body == body


@pytest.mark.parametrize("layout", ["one", "each"])
def test_a_poll_is_held_until_its_key_changes_and_the_next_one_goes_through(layout: str) -> None:
    with world(layout=layout) as w, w.proxy.client() as client, w.proxy.client() as other:
        w.redis.client.set(KEY + "t", "1")
        w.redis.client.set(KEY + "other", "1")
        ask(client)
        ask(other, "other")
        w.waiting(2)
        w.redis.change(KEY + "nobody", "9")
        w.redis.change(KEY + "t", "1")  # the value that it has
        assert w.backend.requests == []
        w.redis.change(KEY + "t", "2")
        assert is_unchanged(client.reply())
        w.waiting(1)
        body = ask(client)  # it still knows 1 only
        assert is_passed(client.reply(), body)
        ask(client, last="2")
        w.waiting(2)
        w.redis.client.delete(KEY + "other")
        w.redis.change(KEY + "other", "")
        assert other.reply().status == 200, "without a value there is nothing to wait for"
        assert (w.ended("changed"), w.ended("stale")) == (1, 1)
        assert [c["sub"] for c in w.redis.client.client_list("pubsub")] == [
            {"one": "1", "each": "3"}[layout]
        ], "one connection subscribes"


def test_it_can_be_passed_on_when_something_changes_with_body_and_fields_as_they_came() -> None:
    with world('on_change = "proxy"') as w, w.proxy.client() as client:
        w.redis.client.set(KEY + "t", "1")
        body = json.dumps({"token": "t", "last_update": "1"}).encode()
        client.send(
            b"POST /api/v4/jobs/request?a=%20b HTTP/1.1\r\nHost: h\r\nX-Mine: yes\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert client.head().status == 100
        for at in range(0, len(body), 10):
            client.send(b"%x\r\n%b\r\n" % (len(body[at : at + 10]), body[at : at + 10]))
        client.send(b"0\r\n\r\n")
        w.waiting(1)
        w.redis.change(KEY + "t", "2")
        assert is_passed(client.reply(), body)
        (request,) = w.backend.requests
        assert request.target == b"/api/v4/jobs/request?a=%20b"
        assert request.header(b"x-mine") == b"yes"
        assert request.header(b"content-length") == b"%d" % len(body)
        assert request.header(b"expect") is None


@pytest.mark.parametrize("choice", ["204", "proxy"])
def test_time_is_up(choice: str) -> None:
    with world(f'wait = "1s"\non_timeout = "{choice}"') as w, w.proxy.client() as client:
        w.redis.client.set(KEY + "t", "1")
        body = ask(client)
        reply = client.reply()
        assert is_unchanged(reply) if choice == "204" else is_passed(reply, body)
        assert w.ended("timeout") == 1
        w.waiting(0)


def test_what_is_no_poll_goes_to_the_backend_at_once() -> None:
    with world('max_waiting = 1\nmax_body = "2KiB"') as w, ExitStack() as stack:
        clients = [stack.enter_context(w.proxy.client()) for _ in range(8)]
        for client, (token, last, kind) in zip(
            clients,
            [
                ("", "1", "application/json"),
                ("t", "", "application/json"),
                ("t", "1", "text/plain"),
                ("x" * 1025, "1", "application/json"),
                ("missing", "1", "application/json"),
            ],
            strict=False,
        ):
            body = ask(client, token, last, kind=kind)
            assert is_passed(client.reply(), body)
        assert (w.ended("unheld"), w.ended("stale")) == (4, 1)
        ask(clients[5], "t" * 2000)
        too_large = clients[5].reply()
        assert too_large.status == 413
        assert too_large.header(b"gitlab-ci-builds-polling") == b"yes"
        w.redis.client.set(KEY + "t", "1")
        ask(clients[6])
        w.waiting(1)
        body = ask(clients[7])
        assert is_passed(clients[7].reply(), body), "no more may wait"


@pytest.mark.parametrize("layout", ["one", "each"])
def test_who_has_left_costs_nothing(layout: str) -> None:
    with world(layout=layout) as w:
        for leave in (lambda client: client.sock.close(), Client.reset, Client.send_eof):
            w.redis.client.set(KEY + "t", "1")
            client = w.proxy.client()
            ask(client)
            w.waiting(1)
            leave(client)
            w.waiting(0)
            client.sock.close()
        assert w.ended("left") == 3
        assert w.backend.requests == []
        eventually(lambda: w.proxy.metric("fastproxy_polls_keys") == 0, "forgotten")
        channel = f"workhorse:notifications:{KEY}t"
        eventually(lambda: w.redis.client.pubsub_numsub(channel) == [(channel.encode(), 0)], "left")
        eventually(lambda: w.proxy.connections() == 0, "closed")


@pytest.mark.parametrize("layout", ["one", "each"])
def test_when_redis_dies_requests_are_proxied_and_held_again_when_it_is_back(layout: str) -> None:
    with world(layout=layout) as w, ExitStack() as stack:
        clients = [stack.enter_context(w.proxy.client()) for _ in range(5)]
        w.redis.client.set(KEY + "t", "1")
        bodies = [ask(client) for client in clients]
        w.waiting(5)
        w.redis.stop()
        for client, body in zip(clients, bodies, strict=True):
            assert is_passed(client.reply(), body)
        for _ in range(3):
            body = ask(clients[0])
            assert is_passed(clients[0].reply(), body)
        assert w.ended("unwatched") == 8
        for round_ in range(2):
            w.redis.start()
            eventually(w.is_connected, "connected again")
            body = ask(clients[0])
            assert is_passed(clients[0].reply(), body), "it came back empty"
            w.redis.client.set(KEY + "t", "7")
            ask(clients[0], last="7")
            w.waiting(1)
            w.redis.change(KEY + "t", "8")
            assert is_unchanged(clients[0].reply())
            if not round_:
                w.redis.stop()
                eventually(lambda: not w.is_connected(), "lost")
        assert w.proxy.metric("fastproxy_redis_losses_total") == 2
        assert "Redis lost" in w.proxy.said()


def test_without_redis_from_the_start_requests_are_proxied_until_it_comes() -> None:
    with world(is_started=False) as w, w.proxy.client() as client:
        body = ask(client)
        assert is_passed(client.reply(), body)
        w.redis.start()
        eventually(w.is_connected, "connected")
        w.redis.client.set(KEY + "t", "1")
        ask(client)
        w.waiting(1)


def test_a_redis_that_hangs_is_given_up() -> None:
    with redis_server() as redis, origin() as backend:
        text = configuration(redis, backend, "", "one", "")
        text = text.replace("longest_pause", 'heartbeat = "300ms"\nlongest_pause')
        with proxy(text) as running, running.client() as client:
            w = World(redis, backend, running)
            eventually(w.is_connected, "connected")
            redis.client.set(KEY + "t", "1")
            body = ask(client)
            w.waiting(1)
            assert redis._process is not None
            redis._process.send_signal(signal.SIGSTOP)
            try:
                assert is_passed(client.reply(), body)
            finally:
                redis._process.send_signal(signal.SIGCONT)
            eventually(w.is_connected, "connected again")


def test_a_drain_answers_all_who_wait_at_once() -> None:
    with world() as w, ExitStack() as stack:
        clients = [stack.enter_context(w.proxy.client()) for _ in range(20)]
        w.redis.client.set(KEY + "t", "1")
        for client in clients:
            ask(client)
        w.waiting(20)
        os.kill(w.proxy.process.pid, signal.SIGTERM)
        for client in clients:
            reply = client.reply()
            assert is_unchanged(reply)
            assert reply.header(b"connection") == b"close"
        assert w.proxy.process.wait(10) == 0
        assert w.backend.requests == []


def test_who_is_woken_stands_in_the_queue_of_the_route() -> None:
    settings = 'on_change = "proxy"\n[route.queue]\nat_once = 1\nlength = 1\n'
    with world(settings) as w, ExitStack() as stack:
        clients = [stack.enter_context(w.proxy.client()) for _ in range(3)]
        w.redis.client.set(KEY + "t", "1")
        for client in clients:
            ask(client)
        w.waiting(3)
        assert w.proxy.metric('fastproxy_queue_running{queue="jobs"}') == 0
        w.redis.change(KEY + "t", "2")
        statuses = sorted(client.reply().status for client in clients)
        assert statuses == [200, 200, 429]


def test_the_queue_knows_by_their_fields_who_was_woken() -> None:
    settings = 'on_change = "proxy"\n[route.queue]\nat_once = 1\nlength_per_key = 1\n'
    with world(settings + 'key = "header:X-User"') as w, ExitStack() as stack:
        clients = [stack.enter_context(w.proxy.client()) for _ in range(3)]
        w.redis.client.set(KEY + "t", "1")
        for client, user in zip(clients, "aab", strict=True):
            ask(client, more=f"X-User: {user}\r\n")
        w.waiting(3)
        w.redis.change(KEY + "t", "2")
        assert [client.reply().status for client in clients] == [200, 200, 200]
        assert sorted(r.header(b"x-user") or b"" for r in w.backend.requests) == [b"a", b"a", b"b"]


WAITERS = 5000
KIB_EACH = 4  # with its connection; of the whole process
FEATURES = {f"feature_number_{number}": True for number in range(28)}


def as_runner(token: str) -> bytes:
    """What a runner of GitLab sends, 1,300 bytes."""
    info = {"name": "gitlab-runner", "version": "17.5.3", "executor": "docker"}
    said = {"info": {**info, "features": FEATURES}, "token": token, "last_update": "1"}
    body = json.dumps(said).encode()
    head = (
        "POST /api/v4/jobs/request HTTP/1.1\r\nHost: gitlab.example.com\r\n"
        "User-Agent: gitlab-runner 17.5.3 (17-5-stable; go1.22.7; linux/amd64)\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nRunner-Token: {token}\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("layout", ["one", "each"])
def test_five_thousand_runners_that_all_come_at_once_take_4_kib_each_and_all_are_woken(
    layout: str,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * WAITERS), hard))
    try:
        with world("wake_rate = 0", layout=layout) as w, ExitStack() as stack:
            w.redis.client.mset({f"{KEY}glrt-{number:020}": "1" for number in range(WAITERS)})
            before = w.proxy.rss()
            clients = [stack.enter_context(w.proxy.client()) for _ in range(WAITERS)]
            worker = w.proxy.worker
            os.kill(worker, signal.SIGSTOP)
            for number, client in enumerate(clients):
                client.send(as_runner(f"glrt-{number:020}"))
            os.kill(worker, signal.SIGCONT)
            w.waiting(WAITERS)
            assert w.proxy.rss() - before < WAITERS * KIB_EACH * 1024
            for client in clients[::50]:
                client.sock.close()
            w.waiting(WAITERS - WAITERS // 50)
            for number in range(WAITERS):
                w.redis.change(f"{KEY}glrt-{number:020}", "2")
            left = {client.sock for client in clients if client.sock.fileno() >= 0}
            assert receive_all(left) == len(left)
            w.waiting(0)
            assert w.backend.requests == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_key_is_asked_for_once_however_many_wait_for_it() -> None:
    with world(layout="each") as w, ExitStack() as stack:
        w.redis.client.mset({f"{KEY}{number}": "1" for number in range(10)})
        clients = [stack.enter_context(w.proxy.client()) for _ in range(200)]
        for number, client in enumerate(clients):
            ask(client, str(number % 10))
        w.waiting(200)
        assert w.redis.client.info("commandstats")["cmdstat_mget"]["calls"] <= 10
        eventually(lambda: w.proxy.metric("fastproxy_polls_keys") == 10, "ten keys")


def receive_all(sockets: set[socket.socket]) -> int:
    """How many get a 204."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(20)
            assert ready, f"{len(selector.get_map())} hear nothing"
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                answered += key.fileobj.recv(4096).startswith(b"HTTP/1.1 204 ")
                selector.unregister(key.fileobj)
    return answered
