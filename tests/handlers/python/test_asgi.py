"""ASGI applications over real connections: raw ones, Starlette and FastAPI."""

import asyncio
import threading
from contextlib import asynccontextmanager

import fastapi
import httpx
import pytest
import starlette.applications
import starlette.background
import starlette.responses
import starlette.routing

from fastproxy.config.schema import AsgiRoute
from fastproxy.handlers.python.asgi import AsgiApplication
from fastproxy.handlers.python.lifespan import StartupFailed
from fastproxy.wire.scratch import LARGE_BYTES
from tests.handlers.served import DEADLINE_S, Client, ask, served

MIB = 1 << 20


def serving(name, **options):
    rest = {key: options.pop(key) for key in ("limits", "trusted") if key in options}
    route = AsgiRoute(application=f"{__name__}:{name}", **options)
    return served(lambda tasks: AsgiApplication(route, tasks), **rest)


class Stage:
    """What the applications of this module saw, and what they wait for."""

    def __init__(self):
        self.scopes = []
        self.news = []
        self.changed = threading.Condition()

    def tell(self, news):
        with self.changed:
            self.news.append(news)
            self.changed.notify_all()

    def wait_for(self, *news):
        with self.changed:
            assert self.changed.wait_for(lambda: self.news[: len(news)] == list(news), DEADLINE_S)


STAGE = Stage()


@pytest.fixture(autouse=True)
def stage():
    STAGE.scopes.clear()
    STAGE.news.clear()
    return STAGE


def only_http(app):
    """`app` as one that refuses every scope but "http", as simple applications do."""

    async def application(scope, receive, send):
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return application


START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]}


@only_http
async def hello(scope, receive, send):
    STAGE.scopes.append(scope)
    await send(START)
    await send({"type": "http.response.body", "body": b"hello"})


# -- the scope -----------------------------------------------------------------------------------


def test_the_scope_is_that_of_the_specification():
    with serving("hello", root_path="/app/") as running, Client(running) as client:
        reply = client.ask("/app/%C3%A4/b?c=%20d", "POST", headers={"X-Up": "Down"}, body=b"1")
    assert (reply.status, reply.body, reply.headers["x-a"]) == (200, b"hello", "b")
    assert reply.headers["content-length"] == "5"  # known, as the body came whole
    [scope] = STAGE.scopes
    headers = scope.pop("headers")
    assert headers[0] == (b"host", b"test")
    assert (b"x-up", b"Down") in headers
    assert (b"content-length", b"1") in headers
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/app/ä/b",
        "raw_path": b"/app/%C3%A4/b",
        "query_string": b"c=%20d",
        "root_path": "/app",
        "client": ("127.0.0.1", 0),
        "server": ("test", 80),
        "state": {},
    }


def test_a_trusted_proxy_names_client_and_scheme():
    fields = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "Host": "[::1]"}
    with serving("hello", trusted="127.0.0.0/8") as running:
        ask(running, headers=fields)
    [scope] = STAGE.scopes
    assert (scope["client"], scope["scheme"]) == (("192.0.2.7", 0), "https")
    assert scope["server"] == ("::1", 443)


@pytest.mark.parametrize(
    ("host", "server"), [("a.example:8080", ("a.example", 8080)), ("[::1]:81", ("::1", 81))]
)
def test_the_server_is_what_the_client_asked_for(host, server):
    with serving("hello") as running:
        ask(running, headers={"Host": host})
    assert STAGE.scopes[0]["server"] == server


def test_an_old_client_without_host_is_served_until_close():
    with serving("streaming") as running, Client(running) as client:
        client.begin("GET")
        client.send(b"GET /2 HTTP/1.0\r\n\r\n")
        reply = client.read()
    assert reply.body == b"0123456789" * 2
    assert STAGE.scopes[0]["server"] is None
    assert STAGE.scopes[0]["http_version"] == "1.0"


def test_a_path_that_is_not_utf_8_can_still_be_encoded():
    with serving("hello") as running:
        ask(running, "/%ff")
    assert STAGE.scopes[0]["path"] == "/\ufffd"
    assert STAGE.scopes[0]["raw_path"] == b"/%ff"


def test_websockets_are_refused_clearly():
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "a"}
    with serving("hello") as running:
        reply = ask(running, headers=fields)
    assert (reply.status, STAGE.scopes) == (501, [])
    assert b"websocket" in reply.body


def test_other_upgrades_are_ignored():
    with serving("hello") as running:
        reply = ask(running, headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert reply.status == 200


# -- the body ------------------------------------------------------------------------------------


@only_http
async def counting(scope, receive, send):
    size, last = 0, None
    while last is None or last.get("more_body"):
        last = await receive()
        assert last["type"] == "http.request"
        assert len(last["body"]) <= 64 * 1024 + LARGE_BYTES
        size += len(last["body"])
    await send(START)
    await send({"type": "http.response.body", "body": b"%d" % size})


@pytest.mark.parametrize("size", [0, 1, 65536, 3 * MIB + 1])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_received_in_small_pieces(size, framing):
    def pieces():
        for start in range(0, size, 100_000):
            yield bytes(min(100_000, size - start))

    with serving("counting") as running, httpx.Client(base_url=running.url) as client:
        content = bytes(size) if framing == "length" else pieces()
        for _ in range(2):
            assert client.post("/", content=content).text == str(size)
            content = bytes(size)


def test_the_permission_to_send_comes_with_the_first_receive():
    with serving("counting") as running, Client(running) as client:
        client.begin("POST")
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"data")
        assert client.read().body == b"4"


def test_without_a_receive_there_is_no_permission():
    fields = {"Content-Length": "4", "Expect": "100-continue"}
    with serving("hello") as running:
        reply = ask(running, method="POST", headers=fields)
    assert (reply.status, reply.interims) == (200, [])


def test_a_body_over_the_limit_is_413():
    with serving("counting", max_body=3) as running, Client(running) as client:
        assert client.ask("/", "POST", body=b"1234").status == 413
    with serving("counting", max_body=3) as running, Client(running) as client:
        client.begin("POST")
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"
        )
        assert client.read().status == 413


# -- the response --------------------------------------------------------------------------------


@only_http
async def streaming(scope, receive, send):
    STAGE.scopes.append(scope)
    await send(START)
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": b"0123456789", "more_body": True})
    await send({"type": "http.response.body"})


def test_a_streamed_response_is_chunked_and_keeps_the_connection():
    with serving("streaming") as running, Client(running) as client:
        for count in (0, 1, 1000):
            reply = client.ask(f"/{count}")
            assert (reply.body, reply.is_whole) == (b"0123456789" * count, True)


@only_http
async def flood(scope, receive, send):
    await send(START)
    for _ in range(256):
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        STAGE.unsent.append(STAGE.running.unsent_bytes())
    await send({"type": "http.response.body"})


def test_send_waits_until_the_client_has_taken_what_was_sent():
    with serving("flood") as running:
        STAGE.running, STAGE.unsent = running, []
        reply = ask(running)
    assert len(reply.body) == 16 * MIB
    assert len(STAGE.unsent) == 256
    assert max(STAGE.unsent) <= 65536


@only_http
async def slow_start(scope, receive, send):
    await send(START)
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await (receive() if scope["path"] == "/body" else asyncio.Event().wait())
    await send({"type": "http.response.body", "body": b"end"})


def test_an_empty_first_piece_sends_the_head_as_event_streams_need_it():
    with serving("slow_start") as running, Client(running) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive_some().startswith(b"HTTP/1.1 200 OK\r\nx-a: b\r\n")


@only_http
async def with_length(scope, receive, send):
    length = scope["path"][1:].encode()
    headers = [(b"Content-Length", length), (b"Connection", b"close"), (b"Date", b"then")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in (b"123", b"45"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


def test_a_length_of_the_application_is_kept_and_hop_by_hop_fields_are_not():
    with serving("with_length") as running, Client(running) as client:
        for _ in range(2):
            reply = client.ask("/5")
            assert (reply.body, reply.is_whole) == (b"12345", True)
            assert reply.headers == {"content-length": "5", "date": "then"}
        assert client.ask("/5", "HEAD").headers["content-length"] == "5"
        assert client.ask("/5").is_whole


@pytest.mark.parametrize("length", [4, 6])
def test_a_response_that_is_not_as_long_as_it_said_is_cut(length):
    with serving("with_length") as running:
        reply = ask(running, f"/{length}")
    assert not reply.is_whole


def test_head_gets_no_body_from_an_application_that_sends_one():
    with serving("hello") as running, Client(running) as client:
        reply = client.ask("/", "HEAD")
        assert (reply.body, reply.headers["content-length"]) == (b"", "5")
        assert client.ask("/").body == b"hello"


def failing(*messages):
    @only_http
    async def application(scope, receive, send):
        for message in messages:
            await send(message)
        if scope["path"] == "/raise":
            raise ValueError("a bug")

    return application


BODY = {"type": "http.response.body", "body": b"some", "more_body": True}
silent = failing()
started = failing(START)
half = failing(START, BODY)
bad_header = failing(
    {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc:")]}
)
bad_status = failing({"type": "http.response.start", "status": 100})
twice = failing(START, START)
no_start = failing(BODY)
unknown = failing({"type": "http.response.trailers"})


@pytest.mark.parametrize("target", ["/", "/raise"])
@pytest.mark.parametrize(
    "name",
    ["silent", "started", "bad_header", "bad_status", "twice", "no_start", "unknown"],
)
def test_an_application_that_fails_before_its_body_gets_500(name, target, caplog):
    with serving(name) as running, Client(running) as client:
        assert client.ask(target).status == 500
        assert client.ask(target).status == 500
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("target", ["/", "/raise"])
def test_an_application_that_fails_amid_its_body_leaves_an_incomplete_response(target):
    with serving("half") as running:
        reply = ask(running, target)
    assert (reply.status, reply.body, reply.is_whole) == (200, b"some", False)


@only_http
async def overlong(scope, receive, send):
    await hello(scope, receive, send)
    with pytest.raises(RuntimeError):
        await send({"type": "http.response.body", "body": b"more"})
    STAGE.tell("refused")


def test_nothing_can_be_sent_after_the_end():
    with serving("overlong") as running, Client(running) as client:
        assert client.ask("/").body == b"hello"
        STAGE.wait_for("refused")
        assert client.ask("/").body == b"hello"


# -- clients that leave --------------------------------------------------------------------------


@only_http
async def patient(scope, receive, send):
    await receive()
    STAGE.tell("waiting")
    STAGE.tell((await receive())["type"])
    with pytest.raises(OSError, match="left"):
        await send(START)
    STAGE.tell("refused")


def test_an_application_is_told_that_its_client_left_and_not_cancelled(caplog):
    with serving("patient") as running:
        with Client(running) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            STAGE.wait_for("waiting")
            client.reset()
        STAGE.wait_for("waiting", "http.disconnect", "refused")
        [exchange] = running.reported()
    assert exchange.fault.kind == "client-gone"
    assert not caplog.records


@only_http
async def uploading(scope, receive, send):
    while (message := await receive())["type"] == "http.request":
        STAGE.tell(len(message["body"]))
    STAGE.tell(message["type"])
    STAGE.tell((await receive())["type"])


def test_a_client_that_leaves_amid_its_body_is_a_disconnect():
    with serving("uploading") as running:
        with Client(running) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
            STAGE.wait_for(4)
        STAGE.wait_for(4, "http.disconnect", "http.disconnect")


@only_http
async def eager(scope, receive, send):
    await hello(scope, receive, send)
    STAGE.tell((await receive())["type"])


def test_after_the_response_there_is_only_the_disconnect_even_with_body_left():
    with serving("eager") as running:
        fields = {"Content-Length": "4", "Expect": "100-continue"}
        reply = ask(running, method="POST", headers=fields)
        assert (reply.body, reply.interims) == (b"hello", [])
        STAGE.wait_for("http.disconnect")


# -- lifespan ------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app):
    STAGE.tell("up")
    yield {"greeting": "hello"}
    STAGE.tell("down")


async def greet(request):
    assert not hasattr(request.state, "mine")
    request.state.mine = 1  # of this request alone
    return starlette.responses.PlainTextResponse(request.state.greeting)


with_lifespan = starlette.applications.Starlette(
    lifespan=lifespan, routes=[starlette.routing.Route("/", greet)]
)


@asynccontextmanager
async def broken_lifespan(app):
    raise OSError("no database")
    yield


broken_start = starlette.applications.Starlette(lifespan=broken_lifespan)


def test_the_lifespan_surrounds_all_requests_and_lends_them_its_state():
    with serving("with_lifespan") as running:
        assert STAGE.news == ["up"]
        assert ask(running).body == b"hello"
        assert ask(running).body == b"hello"
    assert STAGE.news == ["up", "down"]


def test_an_application_that_cannot_start_fails_the_start():
    with pytest.raises(StartupFailed, match="no database"), serving("broken_start"):
        pass


async def broken_shutdown(scope, receive, send):
    for step, result in (("startup", "complete"), ("shutdown", "failed")):
        assert (await receive())["type"] == f"lifespan.{step}"
        await send({"type": f"lifespan.{step}.{result}", "message": "no goodbye"})


def test_a_shutdown_that_fails_is_logged(caplog):
    with serving("broken_shutdown"):
        pass
    assert "no goodbye" in caplog.text


async def returns_early(scope, receive, send):
    if scope["type"] == "http":
        await hello(scope, receive, send)


def test_an_application_that_ignores_the_lifespan_is_served():
    with serving("returns_early") as running:
        assert ask(running).body == b"hello"


# -- frameworks ----------------------------------------------------------------------------------

api = fastapi.FastAPI()


@api.get("/items/{number}")
async def item(number: int, request: fastapi.Request):
    return {"number": number, "query": str(request.query_params), "url": request.url.path}


@api.post("/sum")
def total(numbers: list[int]):  # not async: FastAPI runs it in a thread
    return {"sum": sum(numbers)}


@api.put("/raw")
async def raw(request: fastapi.Request):
    return {"size": sum([len(piece) async for piece in request.stream()])}


@api.post("/form")
async def form(request: fastapi.Request):
    return (await request.body()).decode()


@api.get("/stream")
async def stream():
    async def pieces():
        for number in range(50):
            yield f"{number}\n"

    return starlette.responses.StreamingResponse(pieces(), media_type="text/plain")


@api.get("/cookies")
async def cookies(response: fastapi.Response):
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")


@api.delete("/empty", status_code=204)
async def empty():
    return None


@api.get("/moved")
async def moved():
    return starlette.responses.RedirectResponse("/items/1")


@api.get("/later")
async def later():
    task = starlette.background.BackgroundTask(STAGE.tell, "background")
    return starlette.responses.PlainTextResponse("now", background=task)


@api.get("/file")
async def file():
    return starlette.responses.FileResponse(__file__)


@api.get("/endless")
async def endless():
    async def pieces():
        try:
            while True:
                yield bytes(65536)
        finally:
            STAGE.tell("closed")

    return starlette.responses.StreamingResponse(pieces())


async def _both(running, method, target, **content):
    direct = httpx.ASGITransport(api)
    async with (
        httpx.AsyncClient(base_url=running.url) as mounted,
        httpx.AsyncClient(base_url=running.url, transport=direct) as plain,
    ):
        return [await client.request(method, target, **content) for client in (mounted, plain)]


@pytest.mark.parametrize(
    ("method", "target", "content"),
    [
        ("GET", "/items/7?q=%C3%A4&q=b", {}),
        ("GET", "/items/seven", {}),
        ("GET", "/absent", {}),
        ("POST", "/items/7", {}),
        ("POST", "/sum", {"json": list(range(100))}),
        ("POST", "/sum", {"content": b"[1, 2"}),
        ("POST", "/form", {"data": {"a": "ä b"}}),
        ("PUT", "/raw", {"content": bytes(2 * MIB)}),
        ("GET", "/stream", {}),
        ("GET", "/cookies", {}),
        ("DELETE", "/empty", {}),
        ("GET", "/moved", {}),
        ("GET", "/file", {}),
        ("HEAD", "/file", {}),
        ("GET", "/file", {"headers": {"Range": "bytes=5-9"}}),
        ("GET", "/openapi.json", {}),
    ],
)
def test_fastapi_answers_here_as_it_does_anywhere(method, target, content):
    with serving("api") as running:
        mounted, plain = asyncio.run(_both(running, method, target, **content))
    assert mounted.status_code == plain.status_code
    assert mounted.content == plain.content
    ours = {"date", "transfer-encoding"}
    here, there = (
        [(name, value) for name, value in sorted(reply.headers.multi_items()) if name not in ours]
        for reply in (mounted, plain)
    )
    assert here == there
    assert "date" in mounted.headers


def test_a_background_task_runs_after_the_answer():
    with serving("api") as running:
        assert ask(running, "/later").body == b"now"
        STAGE.wait_for("background")


def test_a_stream_of_starlette_ends_with_its_client(caplog):
    with serving("api") as running:
        with Client(running) as client:
            client.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            client.receive_some()
            client.reset()
        STAGE.wait_for("closed")
        running.reported()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
