"""Every configuration of docs/waiting.md, served as printed."""

import threading
from contextlib import ExitStack
from pathlib import Path

from tests.docs.shell import blocks
from tests.servers.redis import MASTER, redis_server, sentinel
from tests.support.harness import proxy
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually

CONFIGURATIONS = [block.text for block in blocks("toml") if block.document == "docs/waiting.md"]


def test_the_queue_of_the_document_takes_turns_and_refuses_what_is_too_much() -> None:
    (text,) = [text for text in CONFIGURATIONS if "[route.poll]" not in text]
    go = threading.Event()

    def script(peer: Peer) -> None:
        while request := peer.request():
            if request.target != b"/":
                go.wait(20)
            peer.send(response(request.target))

    with origin(script) as backend, ExitStack() as stack:
        text = text.replace("http://127.0.0.1:3000", backend.address)
        front = stack.enter_context(proxy(text))
        clients = [stack.enter_context(front.client()) for _ in range(7)]
        series = 'fastproxy_queue_{}{{queue="search"}}'
        for number, client in enumerate(clients[:6]):
            client.send(b"GET /search/%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            name, count = ("running", number + 1) if number < 2 else ("waiting", number - 1)
            eventually(lambda n=name, c=count: front.metric(series.format(n)) == c, f"{number}")
        assert clients[6].get("/search/6").status == 429
        assert front.get("/").status == 200
        go.set()
        for number, client in enumerate(clients[:6]):
            assert client.reply().body == b"/search/%d" % number


def test_the_inbox_of_the_document_is_told_of_a_change(tmp_path: Path) -> None:
    (text,) = [
        text for text in CONFIGURATIONS if "redis://127.0.0.1:6379/0" in text and "inbox" in text
    ]
    password = tmp_path / "redis-password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    with redis_server("--requirepass", "correct horse", is_started=False) as redis:
        redis.client.connection_pool.connection_kwargs["password"] = "correct horse"
        redis.start()
        with origin() as backend, ExitStack() as stack:
            text = text.replace("redis://127.0.0.1:6379/0", redis.url)
            text = text.replace("redis-password", str(password))
            text = text.replace("http://127.0.0.1:3000", backend.address)
            front = stack.enter_context(proxy(text))
            eventually(lambda: front.metric("fastproxy_redis_connected") == 1, "connected")
            redis.client.set("inbox:42", "v17")
            client = stack.enter_context(front.client())
            client.send(b"GET /inbox/42/changes?box=42&seen=v17 HTTP/1.1\r\nHost: h\r\n\r\n")
            eventually(lambda: front.metric("fastproxy_polls_waiting") == 1, "held")
            assert backend.requests == []
            redis.client.set("inbox:42", "v18", ex=3600)
            redis.client.publish("changes", "inbox:42=v18")
            assert client.reply().status == 200
            assert front.get("/inbox/42/changes?box=42&seen=v17").status == 200
            assert front.get("/").status == 200


def test_gitlabs_runners_are_held_as_workhorse_does_it() -> None:
    (text,) = [text for text in CONFIGURATIONS if "gitlab" in text]
    body = b'{"token":"glrt-x","last_update":"a1","info":{"name":"gitlab-runner"}}'
    request = (
        b"POST /api/v4/jobs/request HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )

    def rails(peer: Peer) -> None:
        while peer.request():
            peer.send(response(status=b"204 No Content", fields=b"X-GitLab-Last-Update: b2\r\n"))

    with redis_server() as redis, origin(rails) as backend, ExitStack() as stack:
        text = text.replace("redis://127.0.0.1:6379/0", redis.url)
        text = text.replace("http://127.0.0.1:3000", backend.address)
        front = stack.enter_context(proxy(text))
        eventually(lambda: front.metric("fastproxy_redis_connected") == 1, "connected")
        redis.client.set("runner:build_queue:glrt-x", "a1")
        client = stack.enter_context(front.client())
        client.send(request)
        eventually(lambda: front.metric("fastproxy_polls_waiting") == 1, "held")
        redis.change("runner:build_queue:glrt-x", "b2")
        held = client.reply()
        client.send(request)
        passed = client.reply()
        assert (held.status, passed.status) == (204, 204)
        assert held.header(b"x-gitlab-last-update") is None
        assert passed.header(b"x-gitlab-last-update") == b"b2"
        polling = [each.header(b"gitlab-ci-builds-polling") for each in (held, passed)]
        assert polling == [b"yes", b"yes"]


def test_the_sentinels_of_the_document_are_asked(tmp_path: Path) -> None:
    (text,) = [text for text in CONFIGURATIONS if "[redis.sentinel]" in text]
    for name in ("redis-password", "sentinel-password"):
        (tmp_path / name).write_text("correct-horse\n")
        (tmp_path / name).chmod(0o600)
        text = text.replace(f'"{name}"', f'"{tmp_path / name}"')
    with (
        redis_server(password="correct-horse") as redis,
        sentinel(redis, 0, "correct-horse") as asked,
        origin() as backend,
    ):
        port = asked.connection_pool.connection_kwargs["port"]
        text = text.replace("10.0.0.1:26379", f"127.0.0.1:{port}").replace("mymaster", MASTER)
        with proxy(text.replace("http://127.0.0.1:3000", backend.address)) as front:
            eventually(lambda: front.metric("fastproxy_redis_connected") == 1, "connected")
