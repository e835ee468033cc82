"""Files over real connections, and the rules of RFC 9110 sections 13 and 14."""

import os
import socket
from email.utils import formatdate

import pytest

from fastproxy.config.schema import StaticRoute
from fastproxy.handlers.static.beneath import Forbidden, IsDirectory, NotServed, open_beneath
from fastproxy.handlers.static.conditions import (
    Validators,
    forwarded,
    precondition_status,
    requested_spans,
)
from fastproxy.handlers.static.files import make_static
from fastproxy.handlers.static.ranges import Span, Unsatisfiable
from fastproxy.handlers.static.send_file import PIECE
from fastproxy.message import RequestHead
from tests.handlers.served import DEADLINE_S, Client, ask, served
from tests.support.descriptors import descriptors

HELLO = b"<h1>hello</h1>"
BIG = bytes(range(256)) * 8192  # 2 MiB: eight pieces
MTIME = 1_700_000_000


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "docs" / "empty").mkdir(parents=True)
    (root / "index.html").write_bytes(HELLO)
    (root / "docs" / "index.html").write_bytes(b"docs")
    (root / "docs" / "ä b;c.txt").write_bytes(b"odd name")
    (root / "big.bin").write_bytes(BIG)
    (root / "none").write_bytes(b"")
    (root / "app.js").write_bytes(b"1")
    (root / "a.tar.gz").write_bytes(b"1")
    (root / "font.woff2").write_bytes(b"1")
    os.utime(root / "index.html", (MTIME, MTIME))
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inside").symlink_to("index.html")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    return root


def serving(root, **options):
    route = StaticRoute(root=str(root), **options)
    return served(lambda tasks: make_static(route, tasks))


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("/", HELLO, "text/html; charset=utf-8"),
        ("/index.html?v=1", HELLO, "text/html; charset=utf-8"),
        ("/docs/", b"docs", "text/html; charset=utf-8"),
        ("/docs/../docs//index.html", b"docs", "text/html; charset=utf-8"),
        ("/docs/%C3%A4%20b;c.txt", b"odd name", "text/plain; charset=utf-8"),
        ("/big.bin", BIG, "application/octet-stream"),
        ("/none", b"", "application/octet-stream"),
        ("/app.js", b"1", "text/javascript; charset=utf-8"),
        ("/a.tar.gz", b"1", "application/gzip"),
        ("/font.woff2", b"1", "font/woff2"),
    ],
)
def test_a_file_is_sent_with_its_type_and_length(root, target, body, content_type):
    with serving(root, cache_control="max-age=60") as running:
        reply = ask(running, target)
    assert (reply.status, reply.is_whole) == (200, True)
    assert reply.body == body
    assert reply.headers["content-type"] == content_type
    assert reply.headers["content-length"] == str(len(body))
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "max-age=60"
    assert reply.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    "target",
    [
        "/absent", "/docs/empty/", "/docs/empty", "/index.html/", "/index.html/x", "/link",
        "/inside", "/up/secret", "/up/root/index.html", "/fifo", "/docs/%2e%2e/%2e%2e/secret",
        "/..%2fsecret", "/" + "n" * 300, "/%252e%252e/secret", "/..%5csecret", "/%ff",
    ],
)  # fmt: skip
def test_what_is_not_a_regular_file_beneath_the_root_is_not_served(root, target):
    with serving(root) as running:
        reply = ask(running, target)
    assert reply.status in (400, 404)  # 400: the path climbs above the root by itself
    assert b"secret" not in reply.body
    assert HELLO not in reply.body


def test_a_file_we_may_not_read_is_forbidden(root, monkeypatch):
    # Root may read everything, so the kernel's refusal is played.
    def refuse(*_, **__):
        raise PermissionError(13, "denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Forbidden):
        open_beneath(str(root), [b"index.html"])


@pytest.mark.parametrize("segments", [[], [b""], [b".."], [b"."], [b"docs", b"..", b"x"], [b"a/b"]])
def test_names_that_are_no_names_are_refused_before_the_file_system_is_asked(segments):
    with pytest.raises(NotServed):
        open_beneath("/nowhere/at/all", segments)


@pytest.mark.parametrize(
    "segments",
    [
        [b"..", b"secret"],
        [b"docs", b"..", b"index.html"],
        [b".", b"index.html"],
        [b"docs/index.html"],
    ],
)
def test_names_that_are_no_names_lead_to_no_file_that_is_there(root, segments):
    assert os.path.isfile(os.path.join(os.fsencode(root), *segments))
    with pytest.raises(NotServed):
        open_beneath(str(root), segments)


def test_no_descriptor_is_left_open_whatever_was_found(root):
    before = descriptors()
    for segments in ([b"index.html"], [b"docs", b"index.html"]):
        open_beneath(str(root), segments).close()
    for segments in ([b"docs"], [b"up", b"secret"], [b"fifo"], [b"docs", b"none", b"x"]):
        with pytest.raises(NotServed):
            open_beneath(str(root), segments)
    assert descriptors() <= before


def test_a_directory_is_told_from_other_things(root):
    with pytest.raises(IsDirectory):
        open_beneath(str(root), [b"docs"])


def test_a_socket_is_not_served(root):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "sock"))
        with pytest.raises(NotServed):
            open_beneath(str(root), [b"sock"])


def test_a_directory_with_an_index_is_redirected_to_its_slash(root):
    with serving(root) as running:
        reply = ask(running, "//docs?a=b%20c")
    # The merged path: "//docs" in a Location would be another host.
    assert (reply.status, reply.headers["location"]) == (301, "/docs/?a=b%20c")


def test_a_directory_that_has_the_name_of_the_index_is_not_redirected_to_itself(root):
    (root / "odd" / "index.html").mkdir(parents=True)
    (root / "odd" / "index.html" / "index.html").write_bytes(b"odd")
    with serving(root) as running:
        assert ask(running, "/odd/").status == 404


def test_the_prefix_is_taken_off_only_at_a_segment(root):
    with serving(root, strip_prefix="/static/") as running:
        assert ask(running, "/static/docs/index.html").body == b"docs"
        assert ask(running, "/static/").body == HELLO
        assert ask(running, "/static").headers["location"] == "/static/"
        assert ask(running, "/staticdocs/index.html").status == 404
        assert ask(running, "/docs/index.html").status == 404


def test_a_root_that_is_a_symlink_is_followed_anew_each_time(root, tmp_path):
    current, other = tmp_path / "current", tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_bytes(b"new release")
    current.symlink_to(root)
    with serving(current) as running:
        assert ask(running).body == HELLO
        current.unlink()
        current.symlink_to(other)
        assert ask(running).body == b"new release"


def test_head_tells_what_get_would_without_the_body(root):
    with serving(root) as running, Client(running) as client:
        head, get = client.ask("/big.bin", "HEAD"), client.ask("/big.bin")
    head.headers.pop("date"), get.headers.pop("date")
    assert (head.headers, head.body) == (get.headers, b"")
    assert get.body == BIG


def test_other_methods_are_refused(root):
    with serving(root) as running:
        assert ask(running, method="DELETE").status == 405


def test_an_unchanged_file_is_304_with_its_validators(root):
    with serving(root) as running, Client(running) as client:
        first = client.ask("/")
        assert first.headers["last-modified"] == formatdate(MTIME, usegmt=True)
        for name, value in (
            ("If-None-Match", f'"other", W/{first.headers["etag"]}'),
            ("If-Modified-Since", first.headers["last-modified"]),
        ):
            reply = client.ask("/", headers={name: value})
            assert (reply.status, reply.body) == (304, b"")
            assert reply.headers["etag"] == first.headers["etag"]
        (root / "index.html").write_bytes(b"<h1>jello</h1>")
        changed = client.ask("/", headers={"If-None-Match": first.headers["etag"]})
        assert (changed.status, changed.body) == (200, b"<h1>jello</h1>")
        refused = client.ask("/", headers={"If-Match": first.headers["etag"]})
        assert (refused.status, refused.body) == (412, b"")


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        (f"bytes={PIECE - 1}-{PIECE}", PIECE - 1, PIECE),
        ("bytes=100-", 100, len(BIG) - 1),
        ("bytes=-300000", len(BIG) - 300000, len(BIG) - 1),
        ("bytes=5-99999999999999999999", 5, len(BIG) - 1),
    ],
)
def test_a_range_is_sent_alone(root, value, first, last):
    with serving(root) as running:
        reply = ask(running, "/big.bin", headers={"Range": value})
    assert reply.status == 206
    assert reply.body == BIG[first : last + 1]
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(BIG)}"


def test_a_range_behind_the_end_is_416_with_the_size(root):
    with serving(root) as running, Client(running) as client:
        reply = client.ask("/big.bin", headers={"Range": f"bytes={len(BIG)}-"})
        assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(BIG)}")
        assert client.ask("/").status == 200


def test_a_range_of_another_version_gets_the_whole_file(root):
    with serving(root) as running, Client(running) as client:
        tag = client.ask("/big.bin", "HEAD").headers["etag"]
        kept = client.ask("/big.bin", headers={"Range": "bytes=0-1", "If-Range": tag})
        other = client.ask("/big.bin", headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (kept.status, other.status) == (206, 200)


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(root):
    path = root / "shrinking"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # more than any socket holds: the sender has to stop and read on
    with serving(root) as running, Client(running) as client:
        client.begin("GET")
        client.send(b"GET /shrinking HTTP/1.1\r\nHost: a\r\n\r\n")
        begun = client.receive_some()
        os.truncate(path, 0)
        reply = client.read(begun)
        [exchange] = running.reported()
    assert (reply.status, reply.is_whole) == (200, False)
    assert exchange.fault.side.value == "ours"


def test_a_client_that_leaves_a_download_lets_go_of_the_file(root):
    with (root / "huge").open("wb") as file:
        file.truncate(1 << 30)
    with serving(root) as running:
        with Client(running) as client:
            client.send(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.receive_some().startswith(b"HTTP/1.1 200")
            client.reset()
        [exchange] = running.reported()
        running.call(running.tasks.stop(DEADLINE_S))
        opened = {target for _, target in descriptors()}
    assert exchange.fault.kind == "client-gone"
    assert str(root / "huge") not in opened


def test_a_cache_control_that_breaks_the_head_is_refused_at_the_start(root):
    with pytest.raises(ValueError, match="not valid"):
        make_static(StaticRoute(root=str(root), cache_control="a\r\nb: c"), None)


# -- the rules alone -----------------------------------------------------------------------------

NOW = Validators(b'"1-2"', MTIME)
BEFORE, AT, AFTER = (formatdate(MTIME + n, usegmt=True).encode() for n in (-1, 0, 1))


def head(method=b"GET", **fields):
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return RequestHead(method, b"/", 1, headers)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"If_None_Match": b'"1-2"'}, 304),
        ({"If_None_Match": b'W/"1-2"'}, 304),
        ({"If_None_Match": b"*"}, 304),
        ({"If_None_Match": b'"a", "1-2"'}, 304),
        ({"If_None_Match": b'"a"', "If_Modified_Since": AFTER}, 200),  # the tag alone decides
        ({"If_Modified_Since": AT}, 304),
        ({"If_Modified_Since": BEFORE}, 200),
        ({"If_Modified_Since": b"yesterday"}, 200),
        ({"If_Modified_Since": b"Sun, 06 Nov 99999999999 08:49:37 GMT"}, 200),
        ({"If_Modified_Since": b"Sunday, 06-Nov-94 08:49:37 GMT"}, 200),
        ({"If_Match": b'"1-2"'}, 200),
        ({"If_Match": b'W/"1-2"'}, 412),  # weak tags never match strongly
        ({"If_Match": b"*"}, 200),
        ({"If_Match": b'"a"'}, 412),
        ({"If_Match": b'"1-2"', "If_Unmodified_Since": BEFORE}, 200),
        ({"If_Unmodified_Since": BEFORE}, 412),
        ({"If_Unmodified_Since": AT}, 200),
        ({"If_Match": b'"a"', "If_None_Match": b'"1-2"'}, 412),
    ],
)
def test_preconditions_are_judged_in_the_order_of_the_rfc(fields, status):
    assert precondition_status(head(**fields), NOW) == status


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=", b"bytes=-", b"bytes=5-4", b"lines=0-1", b"bytes=a-b", b"0-1",
        b"bytes=0-1-2", b"bytes=+1-2", b"bytes=" + b"9" * 40 + b"-",
    ],
)  # fmt: skip
def test_ranges_that_do_not_parse_are_ignored(value):
    assert requested_spans(head(Range=value), NOW, 100) == []


@pytest.mark.parametrize("value", [b"bytes=100-", b"bytes=100-200", b"bytes=-0"])
def test_ranges_without_a_byte_cannot_be_satisfied(value):
    with pytest.raises(Unsatisfiable):
        requested_spans(head(Range=value), NOW, 100)


@pytest.mark.parametrize(
    ("if_range", "holds"),
    [(b'"1-2"', True), (b'W/"1-2"', False), (AT, True), (AFTER, False), (b"nonsense", False)],
)
def test_if_range_wants_exactly_this_version(if_range, holds):
    found = requested_spans(head(Range=b"bytes=0-1", If_Range=if_range), NOW, 100)
    assert found == ([Span(0, 2)] if holds else [])


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, {}),
        ({"Range": b"bytes= 0-1 "}, {"Range": b"bytes=0-1"}),
        ({"Range": b"BYTES=-5"}, {"Range": b"bytes=-5"}),
        ({"Range": b"bytes=5-99999999999999999999"}, {"Range": b"bytes=5-%d" % (1 << 50)}),
        ({"Range": b"bytes=5-4"}, {}),
        ({"Range": b"bytes=-"}, {}),
        ({"Range": b"bytes=0-1,4-5"}, {}),
        ({"Range": b"bytes=0-1,"}, {"Range": b"bytes=0-1"}),
        ({"If_Range": b'"t"'}, {}),
        ({"Range": b"bytes=1-", "If_Range": b'"t" '}, {"Range": b"bytes=1-", "If-Range": b'"t"'}),
        ({"Range": b"bytes=1-", "If_Range": b'W/"t"'}, {}),
        ({"Range": b"bytes=1-", "If_Range": b"junk"}, {}),
        ({"Range": b"bytes=1-", "If_Range": AT}, {"Range": b"bytes=1-", "If-Range": AT}),
        ({"If_None_Match": b'W/"aW/b",x"c"'}, {"If-None-Match": b'"aW/b", "c"'}),
        ({"If_None_Match": b"junk", "If_Modified_Since": AT}, {}),
        ({"If_Match": b" * "}, {"If-Match": b"*"}),
        ({"If_Match": b'W/"a"', "If_Unmodified_Since": AT}, {"If-Match": b'W/"a"'}),
        ({"If_Unmodified_Since": b"junk", "If_Modified_Since": b"junk"}, {}),
        ({"If_Unmodified_Since": AT}, {"If-Unmodified-Since": AT}),
        ({"Cookie": b"a"}, {}),
        *(
            ({"Range": b"bytes=1-", "If_Range": odd, name: odd}, {})
            for odd in (
                b"31 Dec 9999 23:59:59 -9999",
                b"1 Jan 2015 00:00:00 -" + b"9" * 40,
                b"99999999999999 Jan 2015 00:00:00 GMT",
            )
            for name in ("If_Modified_Since", "If_Unmodified_Since")
        ),
    ],
)
def test_another_server_is_asked_in_one_spelling_and_only_what_counts(fields, asked):
    expected = {name.encode(): value for name, value in asked.items()}
    assert dict(forwarded(head(**fields))) == expected
    assert forwarded(head(b"POST", **fields)) == []
    without = {name: value for name, value in expected.items() if b"Range" not in name}
    assert dict(forwarded(head(b"HEAD", **fields))) == without


@pytest.mark.parametrize(
    ("told", "fields", "status"),
    [
        ({}, {"If_Modified_Since": AFTER}, 200),
        ({}, {"If_Unmodified_Since": BEFORE}, 200),
        ({}, {"If_Match": b'"a"'}, 412),
        ({}, {"If_Match": b"*"}, 200),
        ({"etag": b'W/"a"'}, {"If_Match": b'W/"a"'}, 412),
        ({"etag": b'W/"a"'}, {"If_None_Match": b'"a"'}, 304),
        ({"last-modified": AT}, {"If_Modified_Since": AT}, 304),
        ({"last-modified": b"junk"}, {"If_Modified_Since": AT}, 200),
    ],
)
def test_what_another_server_does_not_tell_decides_nothing(told, fields, status):
    current = Validators.told([(name.encode(), value) for name, value in told.items()])
    assert precondition_status(head(**fields), current) == status
    weak = head(Range=b"bytes=0-1", If_Range=b'W/"a"')
    assert requested_spans(weak, current, 10) == []


def test_head_has_no_ranges():
    assert requested_spans(head(b"HEAD", Range=b"bytes=0-1"), NOW, 100) == []


def test_ranges_of_nothing_are_ignored():
    assert requested_spans(head(Range=b"bytes=0-1"), NOW, 0) == []
