"""Which route takes a request."""

import contextlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import AnyRoute, FixedRoute, ProxyRoute, StaticRoute, UploadRoute
from fastproxy.errors import BadHead
from fastproxy.routes import RouteTable, bare_host, normalise_path

UPLOAD = UploadRoute(path="/api/*/upload", name="upload")
REST = ProxyRoute(path="/**", name="rest")


def table(*routes: AnyRoute) -> RouteTable:
    return RouteTable(routes)


def name(routes: RouteTable, target: bytes, method: bytes = b"POST", host: bytes = b"h") -> str:
    row = routes.resolve(method, target, host).route
    return row.name if row else ""


# --- normalising


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a/b", "/a/b", b""),
        (b"/a/b/", "/a/b/", b""),
        (b"/a?b=c?d", "/a", b"b=c?d"),
        (b"/a?x=%zz%00", "/a", b"x=%zz%00"),
        (b"/%61%20b", "/a b", b""),
        (b"/caf%C3%A9", "/café", b""),
        (b"/caf%e9", "/caf\udce9", b""),
        (b"/a%2Fb", "/a/b", b""),
        (b"/a//b", "/a/b", b""),
        (b"/a/./b/../c", "/a/c", b""),
        (b"/a/b/..", "/a/", b""),
        (b"/a/%2e%2e/b", "/b", b""),
        (b"/a;v=1/b", "/a;v=1/b", b""),
        (b"/100%25", "/100%", b""),
        (b"/.well-known/x", "/.well-known/x", b""),
        (b"/a/...", "/a/...", b""),
        (b"*", "*", b""),
    ],
)
def test_a_target_is_decoded_once_and_normalised(target: bytes, path: str, query: bytes) -> None:
    found = normalise_path(target)
    assert (found.path, found.query) == (path, query)
    assert found.raw_path == target.partition(b"?")[0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (b"", "not in origin form"),
        (b"a", "not in origin form"),
        (b"http://h/", "not in origin form"),
        (b"/a#b", "fragment"),
        (b"/%", "broken"),
        (b"/%2", "broken"),
        (b"/%zz", "broken"),
        (b"/a%00b", "control"),
        (b"/a%0d%0ab", "control"),
        (b"/a%7f", "control"),
        (b"/a\x01", "control"),
        (b"/a%2500b", "control character, encoded twice"),
        (b"/..", "above the root"),
        (b"/%2e%2e/a", "above the root"),
        (b"/a/..%2f..%2fb", "above the root"),
        (b"/a/..;/../b", "above the root"),
        (b"/a\\..\\..\\b", "above the root"),
        (b"/%c0%ae%c0%ae/a", "overlong"),
        (b"/%e0%80%af", "overlong"),
        (b"//" * 100, "too many places"),
    ],
)
def test_a_malformed_target_is_refused(target: bytes, said: str) -> None:
    with pytest.raises(BadHead, match=said):
        normalise_path(target)


@given(st.binary(max_size=40).map(lambda tail: b"/" + tail))
def test_no_target_breaks_normalising(target: bytes) -> None:
    try:
        found = normalise_path(target)
    except BadHead:
        return
    assert found.path.startswith("/")
    assert "//" not in found.path
    assert not {".", ".."} & set(found.path.split("/"))
    assert found.raw_path + (b"?" + found.query if b"?" in target else b"") == target


PIECES = [
    *["/", "/a", "/x", "/b", "a", "b", "x"],
    *["/..", "/.", "//", "\\", ";", ";x", "/;"],
    *["%2f", "%5C", "%2e", "%2E%2e", "%3b", "%62", "%25", "%252f", "%2562", "%255c", "%252e"],
]


@given(
    st.lists(st.sampled_from(PIECES), min_size=2, max_size=9).map(lambda each: "/" + "".join(each))
)
def test_an_upload_is_never_reached_by_a_form_that_another_server_reads_otherwise(
    text: str,
) -> None:
    """The oracle decodes, twice if it can, and cleans up: it must see the route that we see."""
    routes = table(UploadRoute(path="/a/*/b", name="upload"), REST)
    try:
        seen = name(routes, text.encode())
    except BadHead:
        return
    for reading in oracle_readings(text):
        row = routes.match(b"POST", reading, b"h").route
        assert row is not None
        assert row.name == seen, (text, reading)


def oracle_readings(text: str) -> list[str]:
    """A plain front end (urllib and posixpath), with every mix of its habits."""
    from posixpath import normpath
    from urllib.parse import unquote

    def cleaned(path: str) -> str:
        return normpath(path).replace("//", "/") + ("/" if path.endswith("/") else "")

    def stripped(path: str) -> str:
        return "/".join(segment.partition(";")[0] or segment for segment in path.split("/"))

    def decoded(path: str) -> str:
        return unquote(path, errors="surrogateescape")

    habits: list[Callable[[str], str]] = [
        stripped,
        decoded,
        lambda path: path.replace("\\", "/"),
        cleaned,
    ]
    chosen = itertools.chain.from_iterable(
        itertools.combinations(habits, count) for count in range(len(habits) + 1)
    )
    readings = []
    for chain in chosen:
        reading = text
        for habit in chain:
            reading = habit(reading)
        # Every server decodes and knows parameters are no part of a name.
        readings.append(stripped(reading if decoded in chain else decoded(reading)))
    return readings


# --- one protected route, many spellings

SPELLINGS = [
    b"/api/1/upload",
    b"/api/1/upload/",
    b"/api/1/upload//",
    b"//api/1/upload",
    b"/api//1/upload",
    b"/api/1//upload",
    b"/./api/1/upload",
    b"/api/./1/upload",
    b"/api/1/./upload",
    b"/api/1/upload/.",
    b"/api/1/upload/./",
    b"/x/../api/1/upload",
    b"/api/x/../1/upload",
    b"/api/1/x/../upload",
    b"/api/1/upload/x/..",
    b"/../api/1/upload",
    b"/%61pi/1/upload",
    b"/api/1/%75pload",
    b"/api/1/%75%70%6c%6f%61%64",
    b"/api/1/uploa%64",
    b"/api/1/uploa%64/",
    b"/api/1/%2575pload",
    b"/api/1/uploa%2564",
    b"/api/1/%25%37%35pload",
    b"/api/1%2fupload",
    b"/api/1%2Fupload",
    b"/api%2f1%2fupload",
    b"/%2fapi/1/upload",
    b"/api/1/upload%2f",
    b"/api/1/upload%2f.",
    b"/api/1%252fupload",
    b"/api/1/%2e/upload",
    b"/api/1/x/%2e%2e/upload",
    b"/api/1/x/.%2e/upload",
    b"/api/1/x/%2E./upload",
    b"/api/1/x/..%2fupload",
    b"/api/1/x%2f..%2fupload",
    b"/api/1/x%2f../upload",
    b"/api/1/x/%252e%252e/upload",
    b"/api/1\\upload",
    b"/api/1%5cupload",
    b"/api/1%5Cupload",
    b"/api\\1\\upload",
    b"/api/1/x\\..\\upload",
    b"/api/1/x%5c..%5cupload",
    b"/api/1/x%255c..%255cupload",
    b"/api/1/upload;",
    b"/api/1/upload;x=1",
    b"/api/1/upload;x=1/",
    b"/api/1;x=1/upload",
    b"/api;a;b/1/upload;c",
    b"/api/1/;x/upload",
    b"/;x/api/1/upload",
    b"/api/1/upload/;x",
    b"/api/1/x/..;/upload",
    b"/api/1/x/..;y=2/upload",
    b"/api/1/x/..%3b/upload",
    b"/api/1/x/..%3Bz/upload",
    b"/api/1/.;/upload",
    b"/api/1/upload%3bx",
    b"/api/1/upload%00",
    b"/api/1/upload%0a",
    b"/api/1/%00/upload",
    b"/api/1/upload%",
    b"/api/1/upload%u0064",
    b"/api/1/uploa\xe0\x81\xa4",
    b"/api/1/%c1%b5pload",
    b"/api/1%c0%afupload",
    b"/api/1%e0%80%afupload",
    b"/api/1/upload?x",
    b"/api/1/upload?",
    b"/api/1/upload#x",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_upload_reaches_its_route_or_nothing(spelling: bytes) -> None:
    assert len(set(SPELLINGS)) == len(SPELLINGS) > 60
    with contextlib.suppress(BadHead):
        assert name(table(UPLOAD, REST), spelling) == "upload"


@pytest.mark.parametrize(
    "spelling",
    [b"/api/1/upload/", b"/api/1/%75pload", b"/api/1;v=2/upload;x", b"/api/a%20b/upload?q"],
)
def test_harmless_spellings_of_an_upload_are_served(spelling: bytes) -> None:
    assert name(table(UPLOAD, REST), spelling) == "upload"


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v4/projects/group%2Fproject/issues",
        b"/a//b",
        b"/a/./b/../c",
        b"/git/x\\y",
        b"/100%25",
        b"/a%252Fb",
        b"/x;jsessionid=1/y",
        b"/redirect/https:%2F%2Fexample.com%2F",
    ],
)
def test_what_reads_alike_for_all_passes_untouched(target: bytes) -> None:
    found = table(UPLOAD, REST).resolve(b"POST", target, b"h")
    assert found.route is not None
    assert found.route.name == "rest"
    assert found.target.raw_path == target


def test_an_encoded_slash_may_name_a_project_of_an_upload_that_allows_depth() -> None:
    routes = table(UploadRoute(path="/projects/**/packages/**", name="upload"), REST)
    assert name(routes, b"/projects/group%2Fproject/packages/a.tgz") == "upload"
    with pytest.raises(BadHead, match="ambiguous path for upload"):
        name(routes, b"/projects/group//project/packages/a.tgz")
    with pytest.raises(BadHead, match="ambiguous path for upload"):
        name(routes, b"/projects/group/project/packages/x/../a.tgz")


def test_an_encoded_slash_that_changes_the_route_is_refused() -> None:
    with pytest.raises(BadHead, match='route "upload" and as route "rest"'):
        name(table(UPLOAD, REST), b"/api/group%2Fproject/upload")


KEPT = [UploadRoute(path="/projects/*", name="project"),
        UploadRoute(path="/projects/*/files/*", name="file"), REST]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (b"/projects/group%2fproject", "project"),
        (b"/projects/a%2Fb%2Fc/", "project"),
        (b"/projects/group/project", "rest"),
        (b"/projects/7/files/packages%2Fgeneric", "file"),
        (b"/projects/a%2Fb/files/c%20d%2fe", "file"),
        (b"/projects%2F7", "rest"),
        (b"/projects/7%2Ffiles%2Fx", "project"),
    ],
)
def test_an_encoded_slash_is_a_part_of_its_segment_where_all_backends_think_so(
    target: bytes, wanted: str
) -> None:
    assert name(RouteTable(KEPT, True), target) == wanted


@pytest.mark.parametrize(
    "target",
    [b"/projects/a%2F..%2Fb", b"/projects/7%2F%2Fb", b"/projects/a%2fb%252Fc",
     b"/projects/%2Fb", b"/projects/a;b%2Fc", b"/projects/a%2Fb%5Cc"],
)  # fmt: skip
def test_an_encoded_slash_among_dots_and_slashes_is_read_in_all_ways(target: bytes) -> None:
    with pytest.raises(BadHead):
        name(RouteTable(KEPT, True), target)


def test_static_files_are_not_left_by_dots() -> None:
    routes = table(StaticRoute(path="/assets/**", name="static", root="/www"), REST)
    with pytest.raises(BadHead):
        name(routes, b"/assets/..%2fsecret", b"GET")
    assert name(routes, b"/assets/a/../b", b"GET") == "static"


# --- choosing


def test_the_first_route_that_matches_decides() -> None:
    routes = table(FixedRoute(path="/a", name="1"), FixedRoute(path="/**", name="2"))
    assert name(routes, b"/a") == "1"
    assert name(routes, b"/b") == "2"
    assert [row.index for row in routes.rows] == [0, 1]


def test_a_route_without_a_name_has_its_path() -> None:
    assert table(FixedRoute(path="/a/*")).rows[0].name == "/a/*"


@pytest.mark.parametrize(
    ("route", "taken", "refused"),
    [
        (UploadRoute(path="/x"), [b"PUT", b"POST"], [b"GET", b"DELETE", b"put"]),
        (UploadRoute(path="/x", methods=("PATCH",)), [b"PATCH"], [b"PUT"]),
        (StaticRoute(path="/x", root="/"), [b"GET", b"HEAD"], [b"POST"]),
        (ProxyRoute(path="/x", methods=("GET",)), [b"GET", b"HEAD"], [b"PUT"]),
        (ProxyRoute(path="/x"), [b"GET", b"PURGE"], []),
    ],
)
def test_methods_decide(route: AnyRoute, taken: list[bytes], refused: list[bytes]) -> None:
    routes = table(route)
    assert [method for method in taken if not routes.match(method, "/x", b"").route] == []
    for method in refused:
        found, allowed = routes.match(method, "/x", b"")
        assert found is None
        assert set(allowed) == set(taken)


def test_methods_of_all_matching_routes_are_allowed() -> None:
    routes = table(
        ProxyRoute(path="/x", methods=("GET",)),
        ProxyRoute(path="/x", methods=("PUT", "GET")),
        ProxyRoute(path="/y", methods=("DELETE",)),
    )
    assert routes.resolve(b"POST", b"/x", b"").allowed == (b"GET", b"HEAD", b"PUT")
    assert routes.resolve(b"POST", b"/z", b"").allowed == ()


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        ("", [b"", b"a.example"], []),
        ("a.example", [b"a.example", b"A.Example:80", b"a.example."], [b"", b"b.a.example"]),
        ("*.Example", [b"a.example", b"b.a.example:1"], [b"example", b"xexample"]),
        ("[::1]", [b"[::1]", b"[::1]:8080"], [b"[::2]"]),
    ],
)
def test_hosts_decide(pattern: str, taken: list[bytes], refused: list[bytes]) -> None:
    routes = table(ProxyRoute(host=pattern))
    assert [host for host in taken if not routes.match(b"GET", "/", host).route] == []
    assert [host for host in refused if routes.match(b"GET", "/", host).route] == []


def test_a_host_loses_port_case_and_final_dot() -> None:
    assert bare_host(b"Example.COM.:8080") == b"example.com"
    assert bare_host(b"h:") == b"h"


def test_options_star_is_taken_by_whoever_takes_the_root() -> None:
    assert name(table(UPLOAD, REST), b"*", b"OPTIONS") == "rest"


def test_the_cache_keeps_queries_apart_and_never_grows_past_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastproxy.routes._CACHE_ENTRIES", 8)
    routes = table(UPLOAD, REST)
    for number in range(50):
        target = b"/api/%d/upload?q=%d" % (number % 10, number)
        found = routes.resolve(b"POST", target, b"h")
        assert found.target.query == b"q=%d" % number
        assert name(routes, target) == "upload"
        assert len(routes._cache) <= 8
    assert routes.resolve(b"POST", b"/api/1/upload", b"h").target.query == b""


def test_long_paths_and_hosts_are_not_cached() -> None:
    routes = table(REST)
    routes.resolve(b"GET", b"/" + b"a" * 300, b"h")
    routes.resolve(b"GET", b"/", b"h" * 300)
    assert not routes._cache


def test_a_cached_answer_depends_on_method_and_host() -> None:
    routes = table(ProxyRoute(host="a", name="a"), ProxyRoute(methods=("GET",), name="get"))
    for _ in range(2):
        assert name(routes, b"/", b"POST", b"a") == "a"
        assert name(routes, b"/", b"POST", b"b") == ""
        assert name(routes, b"/", b"GET", b"b") == "get"
