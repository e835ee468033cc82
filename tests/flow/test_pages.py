"""Precompressed files, error pages and the deploy page of a whole fastproxy, also under reload."""

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.harness import Proxy, proxy
from tests.support.origin import Origin, Peer, origin, response
from tests.support.waiting import eventually

SCRIPT = b"console.log(1);\n" * 1000
PAGE = b"<h1>our own 502</h1>"


@dataclass
class World:
    home: Path
    backend: Origin
    proxy: Proxy


def failing(peer: Peer) -> None:
    """Answers with the status in the path: /500, /404/json, /500/custom ..."""
    while (request := peer.request()) is not None:
        _, *words = request.target.decode().split("/")
        status = next((word for word in words if word.isdigit()), "200")
        kind = "application/json" if "json" in words else "text/html"
        fields = f"Content-Type: {kind}\r\nSet-Cookie: a=b\r\nETag: x\r\nRetry-After: 7\r\n"
        if "custom" in words:
            fields += "Fastproxy-Custom-Error: true\r\n"
        if "gitlab" in words:
            fields += "X-GitLab-Custom-Error: 1\r\n"
        if "die" in words:
            return
        body = b"" if request.method == b"HEAD" else b"the backend's words"
        peer.send(response(body, status=status.encode() + b" Oh", fields=fields.encode()))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    public, errors = tmp_path / "public", tmp_path / "errors"
    public.mkdir()
    errors.mkdir()
    (public / "app.js").write_bytes(SCRIPT)
    (public / "app.js.gz").write_bytes(gzip.compress(SCRIPT))
    (public / "only.css.gz").write_bytes(gzip.compress(b"a{}"))
    (public / "plain.txt").write_bytes(b"plain")
    (errors / "502.html").write_bytes(PAGE)
    (errors / "404.html").write_bytes(b"<h1>not here</h1>")
    with origin(failing) as backend:
        text = f"""
[server]
[backend.default]
address = "{backend.address}"
[[route]]
action = "static"
path = "/assets/**"
strip_prefix = "/assets"
root = "{public}"
cache_control = "public, max-age=31536000, immutable"
precompressed = ["br", "gzip"]
[[route]]
action = "proxy"
path = "/api/**"
errors = "json"
errors_from = 500
[[route]]
action = "proxy"
path = "/shielded/**"
buffer = "both"
errors = "text"
[[route]]
action = "proxy"
errors = "html"
error_pages = "{errors}"
deploy_page = "{tmp_path}/deploy.html"
"""
        with proxy(text) as running:
            yield World(tmp_path, backend, running)


def test_who_accepts_it_gets_the_precompressed_file(world: World, tmp_path: Path) -> None:
    get = world.proxy.get
    plain = get("/assets/app.js")
    packed = get("/assets/app.js", fields="Accept-Encoding: br;q=0, gzip;q=0.5\r\n")
    assert plain.body == SCRIPT
    assert gzip.decompress(packed.body) == SCRIPT
    assert packed.header(b"content-encoding") == b"gzip"
    assert plain.header(b"content-encoding") is None
    assert packed.header(b"content-type") == plain.header(b"content-type")
    assert packed.header(b"etag") != plain.header(b"etag")
    for reply in (plain, packed):
        assert reply.header(b"vary") == b"Accept-Encoding"
        assert reply.header(b"cache-control") == b"public, max-age=31536000, immutable"
    assert get("/assets/only.css", fields="Accept-Encoding: gzip\r\n").status == 200
    assert get("/assets/only.css").status == 404
    assert get("/assets/plain.txt", fields="Accept-Encoding: gzip\r\n").body == b"plain"
    url = f"http://127.0.0.1:{world.proxy.port}/assets/app.js"
    curl = ["curl", "-sf", "--compressed", url]
    assert subprocess.run(curl, check=True, capture_output=True, timeout=20).stdout == SCRIPT
    tag = (packed.header(b"etag") or b"").decode()
    again = f"Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"
    assert get("/assets/app.js", fields=again).status == 304


@pytest.mark.parametrize("host", ["Host: test", "Host:  test"], ids=["express", "general"])
def test_a_page_stands_in_place_of_a_backends_error(world: World, host: str) -> None:
    def ask(target: str, method: str = "GET") -> tuple[int, bytes]:
        client.send(f"{method} {target} HTTP/1.1\r\n{host}\r\n\r\n".encode())
        reply = client.reply(is_head=method == "HEAD")
        heads.append(reply)
        return reply.status, reply.body

    heads: list = []
    with world.proxy.client() as client:
        assert ask("/200") == (200, b"the backend's words")
        assert ask("/502") == (502, PAGE)
        assert heads[-1].header(b"content-type") == b"text/html; charset=utf-8"
        assert heads[-1].all(b"cache-control") == [b"no-cache"]
        assert heads[-1].header(b"set-cookie") == b"a=b"
        assert heads[-1].header(b"retry-after") == b"7"
        assert heads[-1].header(b"etag") is None
        assert ask("/502", "HEAD") == (502, b"")
        assert heads[-1].header(b"content-length") == b"%d" % len(PAGE)
        assert ask("/404") == (404, b"<h1>not here</h1>")
        assert ask("/500") == (500, b"the backend's words")
        assert ask("/502/json") == (502, b"the backend's words")
        assert ask("/502/custom") == (502, b"the backend's words")
        assert heads[-1].header(b"fastproxy-custom-error") is None
        assert ask("/502/gitlab") == (502, b"the backend's words")
        assert ask("/api/404") == (404, b"the backend's words")
        status, body = ask("/api/503")
        assert (status, json.loads(body)) == (
            503,
            {"error": "Service Unavailable", "status": 503},
        )
        assert ask("/shielded/404") == (404, b"Not Found\n")
        assert ask("/shielded/200") == (200, b"the backend's words")


def test_errors_of_our_own_look_the_same(world: World) -> None:
    reply = world.proxy.get("/die")
    assert (reply.status, reply.body) == (502, PAGE)
    assert reply.header(b"content-type") == b"text/html; charset=utf-8"
    assert json.loads(world.proxy.get("/api/die").body) == {"error": "Bad Gateway", "status": 502}
    assert world.proxy.get("/shielded/die").body == b"Bad Gateway\n"


def test_pages_are_those_of_the_last_reload(world: World) -> None:
    page = world.home / "errors" / "502.html"
    page.write_bytes(b"new page")
    assert world.proxy.get("/502").body == PAGE
    os.kill(world.proxy.process.pid, signal.SIGHUP)
    eventually(lambda: world.proxy.get("/502").body == b"new page", "the new page", within=20)
    page.unlink()
    assert world.proxy.get("/502").body == b"new page"


def test_the_deploy_page_answers_while_it_is_there(world: World) -> None:
    page = world.home / "deploy.html"
    before = len(world.backend.requests)
    page.write_bytes(b"<h1>back soon</h1>")
    eventually(lambda: world.proxy.get("/").status == 503, "the deploy page")
    asked = len(world.backend.requests)
    reply = world.proxy.get("/any", method="POST")
    assert (reply.status, reply.body) == (503, b"<h1>back soon</h1>")
    assert reply.header(b"content-type") == b"text/html; charset=utf-8"
    assert b"no-store" in (reply.header(b"cache-control") or b"")
    assert reply.header(b"retry-after") == b"30"
    assert world.proxy.get("/api/200").status == 200
    assert len(world.backend.requests) == asked + 1
    os.kill(world.proxy.process.pid, signal.SIGHUP)
    eventually(lambda: len(world.proxy.workers) == 1, "the reload")
    assert world.proxy.get("/").status == 503
    page.unlink()
    eventually(lambda: world.proxy.get("/").status == 200, "the backend again")
    assert len(world.backend.requests) > before
