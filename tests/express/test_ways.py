"""No request goes another way than the table of routes says, however often it comes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import FixedRoute, ProxyRoute, UploadRoute
from fastproxy.errors import BadHead
from fastproxy.routes import RouteTable
from tests.express.events import backend_sends, client_sends
from tests.express.worlds import TRUSTED, Setting, World, play
from tests.support.examples import examples

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ROUTES = (
    UploadRoute(path="/api/*/upload", methods=("POST", "PUT"), name="upload"),
    FixedRoute(path="/health", name="health"),
    ProxyRoute(path="/api/**", host="a.example", name="a"),
    ProxyRoute(path="/api/**", host="*.b.example", methods=("GET", "HEAD"), name="b"),
    ProxyRoute(path="/api/**", methods=("GET", "POST"), name='rest "of" the api'),
    ProxyRoute(path="/only/get", methods=("GET",), name="only"),
)
TABLE = RouteTable(ROUTES)
METHODS = st.sampled_from((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
PATHS = st.one_of(
    st.sampled_from(
        (
            *(b"/api/1/upload", b"/api/1/upload/", b"/api//1/upload", b"/api/1%2Fupload", b"/x"),
            *(b"/api/1/./upload", b"/api/1/x/../upload", b"/api/1/up%6coad", b"/api/1;a/upload"),
            *(b"/API/1/upload", b"/api/1/upload;x", b"/api\\1\\upload", b"/health", b"/only/get"),
            *(b"/api/" + b"l" * 600, b"/api/" + b"l" * 600 + b"/upload", b"/api/1/%2e%2e/upload"),
        )
    ),
    st.lists(
        st.sampled_from(
            (b"api", b"1", b"upload", b"..", b".", b"", b"%2e", b"%2F", b";", b"health")
        ),
        max_size=5,
    ).map(lambda segments: b"/" + b"/".join(segments)),
)
HOSTS = st.sampled_from(
    (
        *(b"h", b"a.example", b"A.Example", b"a.example:80", b"a.example.", b"a.example.:8080"),
        *(b"b.example", b"x.b.example", b"X.B.EXAMPLE:1", b"a.example:", b"xa.example", b"[::1]"),
        b"h" * 600,
    )
)
REQUESTS = st.tuples(
    METHODS, PATHS, HOSTS, st.sampled_from((b"", b"?", b"?a=b", b"?/api/1/upload"))
)


def routed(method: bytes, path: bytes, host: bytes) -> str:
    """The route the table has for it."""
    try:
        route = TABLE.resolve(method, path, host).route
    except BadHead:
        return ""
    return route.name if route else ""


@examples(60)
@given(st.lists(REQUESTS, min_size=1, max_size=12))
def test_every_request_takes_the_route_it_would_take_without_the_lane(
    asked: list[tuple[bytes, bytes, bytes, bytes]],
) -> None:
    events = []
    for method, path, host, query in asked:
        head = b"%b %b%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, path, query, host)
        answer = OK[:-2] if method == b"HEAD" else OK
        events += [client_sends(head)]
        if routed(method, path, host) not in ("", "upload", "health"):
            events += [backend_sends(answer)]
    play(Setting(TRUSTED, routes=ROUTES), *events)


def test_more_paths_than_the_table_of_ways_holds_still_go_their_way() -> None:
    world = World(Setting(routes=ROUTES), has_lane=True)
    asked = []

    def ask(path: bytes) -> None:
        world.tell(client_sends(b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" % path))
        if world.connection.is_serving:
            assert world.is_on_lane
            world.tell(backend_sends(OK))
        world.tell(World.read_all)
        asked.append((routed(b"POST", path, b"h"), path.decode()))

    try:
        for _ in range(2):
            for number in range(4100):
                ask(b"/api/%d/x" % number)
                if not number % 7:
                    ask(b"/api/%d/upload" % number)
        records = map(json.loads, world.lines())
        assert [(record["route"], record["path"]) for record in records] == asked
    finally:
        world.close()
