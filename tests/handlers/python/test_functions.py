"""Python routes over real connections. The handlers are functions of this module."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest

from fastproxy.config.schema import PythonRoute
from fastproxy.handlers.python.functions import Request, Response, make_python
from fastproxy.handlers.python.imported import BadHandler
from tests.handlers.served import DEADLINE_S, Client, ask, served

MIB = 1 << 20


def serving(name, **options):
    trusted = options.pop("trusted", "")
    route = PythonRoute(handler=f"{__name__}:{name}", **options)
    return served(lambda tasks: make_python(route, tasks), trusted=trusted)


async def tell(request: Request) -> Response:
    told = {
        "method": request.method,
        "path": request.path,
        "raw_path": request.raw_path.decode(),
        "query": request.query,
        "remote_ip": request.remote_ip,
        "scheme": request.scheme,
        "request_id": request.request_id,
        "headers": dict(request.headers.items()),
        "agent": request.headers.get("USER-agent"),
        "body": (await request.body()).decode("latin-1"),
        "again": (await request.body()).decode("latin-1"),
        "streamed": [piece.decode("latin-1") async for piece in request.stream()],
    }
    return Response(body=json.dumps(told), content_type="application/json")


def test_a_handler_sees_the_whole_request():
    with serving("tell") as running:
        reply = ask(
            running,
            "/a%20b//c?x=1&y=%20",
            "POST",
            headers={"User-Agent": "me", "X-Two": "1", "x-two": "2", "Connection": "x-gone"},
            body=b"content",
        )
    told = json.loads(reply.body)
    assert reply.headers["content-type"] == "application/json"
    assert (told["method"], told["path"], told["query"]) == ("POST", "/a b/c", "x=1&y=%20")
    assert told["raw_path"] == "/a%20b//c"
    assert (told["remote_ip"], told["scheme"], told["agent"]) == ("127.0.0.1", "http", "me")
    assert (told["body"], told["again"], told["streamed"]) == ("content", "content", ["content"])
    assert told["headers"]["host"] == "test"
    assert told["headers"]["content-length"] == "7"
    assert told["headers"]["x-request-id"] == told["request_id"] != ""
    assert told["headers"]["x-forwarded-for"] == "127.0.0.1"


def test_fields_sent_twice_are_joined():
    with serving("tell") as running, Client(running) as client:
        client.begin("GET")
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nCookie: b\r\nCookie: c\r\n\r\n"
        )
        headers = json.loads(client.read().body)["headers"]
    assert (headers["x-a"], headers["cookie"]) == ("1, 2", "b; c")


def test_a_trusted_proxy_names_the_client():
    fields = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with serving("tell", trusted="127.0.0.0/8") as running:
        told = json.loads(ask(running, headers=fields).body)
    assert (told["remote_ip"], told["scheme"]) == ("192.0.2.7", "https")
    assert told["headers"]["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"


async def echo(request: Request) -> Response:
    return Response(201, request.stream(), {"X-Kind": "echo"})


def test_a_stream_is_echoed_with_backpressure_both_ways():
    body = bytes(range(256)) * 4096 * 12
    with serving("echo", max_body=64 * MIB) as running:
        reply = ask(running, method="PUT", body=body[:MIB])
        assert (reply.status, reply.body, reply.is_whole) == (201, body[:MIB], True)
        assert reply.headers["transfer-encoding"] == "chunked"
        assert reply.headers["x-kind"] == "echo"
        # An echo of 12 MiB that nobody reads would have to lie in memory: it must stall instead.
        with Client(running) as client:
            client.begin("PUT")
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            reader = asyncio.run(_send_and_read(client, body))
        assert reader.body == body


async def _send_and_read(client, body):
    sending = asyncio.create_task(asyncio.to_thread(client.send, body))
    reply = await asyncio.to_thread(client.read)
    await sending
    return reply


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_over_the_limit_is_413_and_the_handler_does_not_answer(framing):
    with serving("tell", max_body=10) as running, Client(running) as client:
        client.begin("POST")
        if framing == "length":
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        else:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"6\r\nabcdef\r\n5\r\nabcde\r\n")
        assert client.read().status == 413
        [exchange] = running.reported()
    assert exchange.fault.kind == "body-too-large"


def test_the_permission_to_send_comes_with_the_first_read():
    with serving("tell") as running, Client(running) as client:
        client.begin("POST")
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"data")
        assert json.loads(client.read().body)["body"] == "data"


async def refuse(request: Request) -> Response:
    return Response(403, "no", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])


def test_a_handler_may_answer_without_the_body():
    with serving("refuse") as running:
        reply = ask(
            running, method="POST", headers={"Content-Length": "9", "Expect": "100-continue"}
        )
    assert (reply.status, reply.body, reply.interims) == (403, b"no", [])
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_small_unread_body_does_not_cost_the_connection():
    with serving("refuse") as running, Client(running) as client:
        for _ in range(3):
            assert client.ask("/", "POST", body=b"unread").status == 403


async def wrong(request: Request) -> Response:
    return "not a response"  # type: ignore[return-value]


async def broken(request: Request) -> Response:
    raise ValueError("oops")


async def broken_stream(request: Request) -> Response:
    async def pieces():
        yield b"some"
        raise ValueError("oops")

    return Response(body=pieces())


@pytest.mark.parametrize("name", ["wrong", "broken"])
def test_a_bug_in_a_handler_is_500_and_the_next_request_is_served(name, caplog):
    with serving(name) as running, Client(running) as client:
        assert client.ask("/").status == 500
        assert client.ask("/").status == 500
    assert "Traceback" in caplog.text


def test_a_stream_that_breaks_leaves_an_incomplete_response():
    with serving("broken_stream") as running:
        reply = ask(running)
    assert (reply.status, reply.body, reply.is_whole) == (200, b"some", False)


BEGUN = threading.Event()
LEFT: list[str] = []
KEPT: list[AsyncIterator[bytes]] = []


async def endless(request: Request) -> Response:
    async def pieces():
        BEGUN.set()
        try:
            while True:
                yield b"x" * 65536
        finally:
            LEFT.append(request.path)

    KEPT.append(pieces())  # so that only the handler's end, not the collector, can close it
    return Response(body=KEPT[-1])


async def waiting(request: Request) -> Response:
    BEGUN.set()
    try:
        await asyncio.Event().wait()
    finally:
        LEFT.append(request.path)
    return Response()


@pytest.mark.parametrize("name", ["endless", "waiting"])
def test_a_handler_is_cancelled_when_its_client_leaves(name):
    LEFT.clear()
    BEGUN.clear()
    with serving(name) as running:
        with Client(running) as client:
            client.send(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
            assert BEGUN.wait(DEADLINE_S)
            client.reset()
        [exchange] = running.reported()
        running.call(_until_none(running.tasks))
        assert LEFT == ["/left"]  # before the loop ends, which would close all generators
    assert exchange.fault.kind == "client-gone"


async def _until_none(tasks):
    if tasks._pending:
        _, late = await asyncio.wait(tasks._pending, timeout=DEADLINE_S)
        assert not late


def test_head_runs_the_handler_but_not_its_stream():
    LEFT.clear()
    with serving("endless") as running, Client(running) as client:
        assert client.ask("/", "HEAD").is_whole
        assert client.ask("/", "HEAD").status == 200
    assert LEFT == []  # a generator that never began has nothing to clean up


async def head_of_something(request: Request) -> Response:
    return Response(headers={"Content-Length": "1000"})


def test_the_answer_to_head_may_tell_the_length_of_what_is_not_sent():
    with serving("head_of_something") as running:
        assert ask(running, method="HEAD").headers["content-length"] == "1000"


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {"X": "a\r\nY: b"}), (200, {"X\n": "a"}), (101, {}), (99, {}), (600, {})],
)
def test_a_response_that_is_not_valid_cannot_be_made(status, headers):
    with pytest.raises(ValueError, match=r"valid|final"):
        Response(status, headers=headers)


def test_hop_by_hop_fields_of_a_handler_are_not_sent():
    response = Response(headers={"Connection": "upgrade", "Transfer-Encoding": "gzip", "X": "1"})
    assert [name for name, _ in response.head().headers if name != b"Date"] == [b"X"]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("tests.nowhere:f", "ModuleNotFoundError"),
        (f"{__name__}:absent", "AttributeError"),
        (f"{__name__}:MIB", "cannot be called"),
    ],
)
def test_a_handler_that_does_not_exist_fails_the_start_and_is_named(handler, said):
    with pytest.raises(BadHandler, match=f'^"{handler}" .*{said}'):
        make_python(PythonRoute(handler=handler), None)
