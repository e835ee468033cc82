"""Several ranges of one file: the rules of RFC 9110 section 14, and what goes over the wire."""

import gzip
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import StaticRoute
from fastproxy.handlers.static.files import make_static
from fastproxy.handlers.static.ranges import (
    MOST_RANGES,
    Span,
    Unsatisfiable,
    parsed_ranges,
    spans_of,
)
from tests.handlers.served import Client, ask, served
from tests.handlers.static.byteranges import parts_of
from tests.support.child import mortal
from tests.support.ports import free_port
from tests.support.waiting import eventually

DATA = os.urandom(3 << 20)  # more than is read ahead, and than a socket takes
SIZE = len(DATA)
TEXT = b"0123456789" * 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(DATA)
    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT))
    return tmp_path


def serving(root: Path, **options: object):
    route = StaticRoute(root=str(root), **options)  # type: ignore[arg-type]
    return served(lambda tasks: make_static(route, tasks))


# -- the rules alone -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "specs"),
    [
        (b"bytes=0-9,20-29", [(0, 9), (20, 29)]),
        (b"Bytes= 0-9 ,\t20- , -5", [(0, 9), (20, None), (None, 5)]),
        (b"bytes=,0-9,,", [(0, 9)]),
        (b"bytes=", []),
        (b"bytes=,", []),
        (b"bytes=0-9,x", []),
        (b"bytes=0-9,5-4", []),
        (b"bytes=0-9,-", []),
        (b"bytes=0-9;20-29", []),
        (b"bytes=0-9, bytes=20-29", []),
        (b"lines=0-9,20-29", []),
        (b"bytes", []),
    ],
)
def test_a_list_of_ranges_is_read_whole_or_not_at_all(value, specs):
    assert parsed_ranges(value) == specs


def test_only_so_many_ranges_are_read():
    some = [b"%d-%d" % (2 * n, 2 * n) for n in range(MOST_RANGES + 1)]
    assert len(parsed_ranges(b"bytes=" + b",".join(some[:-1]))) == MOST_RANGES
    assert parsed_ranges(b"bytes=" + b",".join(some)) == []
    assert parsed_ranges(b"bytes=0-1" + b"," * MOST_RANGES) == []


NUMBERS = st.integers(0, 30)
SPECS = st.one_of(
    st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, st.none()), st.tuples(st.none(), NUMBERS)
)


def written(spec: tuple[int | None, int | None]) -> str:
    return "-".join("" if number is None else str(number) for number in spec)


@given(st.lists(SPECS, min_size=1, max_size=5), st.sampled_from([",", " ,", ", ", ",,", ",\t,"]))
def test_what_is_written_is_read(specs, comma):
    text = "bytes=" + comma.join(map(written, specs))
    is_valid = not any(None not in spec and spec[1] < spec[0] for spec in specs)
    assert parsed_ranges(text.encode()) == (specs if is_valid else [])


def slice_of(spec: tuple[int | None, int | None], size: int) -> range:
    first, last = spec
    if first is None:
        return range(size)[-last:] if last else range(0)
    return range(size)[first : None if last is None else last + 1]


@given(st.integers(1, 40), st.lists(SPECS, min_size=1, max_size=5))
def test_ranges_give_what_slicing_gives_unless_bytes_would_go_twice(size, specs):
    specs = [spec for spec in specs if None in spec or spec[0] <= spec[1]]
    slices = [found for spec in specs if (found := slice_of(spec, size))]
    try:
        spans = spans_of(specs, size)
    except Unsatisfiable:
        assert not slices
        return
    bytes_in_all = [at for found in slices for at in found]
    is_twice = len(set(bytes_in_all)) < len(bytes_in_all)
    assert spans == ([] if is_twice else [Span(found[0], len(found)) for found in slices])
    assert sum(map(len, spans)) <= size


# -- over a connection ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 9), (20, 29)],
        [(20, 29), (0, 9)],  # in the order they are asked for
        [(0, 0), (1, 1), (SIZE - 1, SIZE - 1)],
        [(100, 2 << 20), ((2 << 20) + 1, SIZE - 1)],
        [(n * 10_000, n * 10_000 + 4999) for n in range(MOST_RANGES)],
    ],
    ids=["small", "backward", "touching", "large", "many"],
)
def test_several_ranges_are_parts_of_one_answer(root, spans):
    value = "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)
    with serving(root) as running, Client(running) as client:
        reply = client.ask("/a.bin", headers={"Range": value})
        assert client.ask("/a.txt").body == TEXT  # on the same connection: its end was known
    assert (reply.status, reply.is_whole) == (206, True)
    assert reply.headers["content-length"] == str(len(reply.body))
    assert "content-range" not in reply.headers
    parts = parts_of(reply.headers["content-type"], reply.body)
    assert parts == [
        (
            {
                "content-type": "application/octet-stream",
                "content-range": f"bytes {first}-{last}/{SIZE}",
            },
            DATA[first : last + 1],
        )
        for first, last in spans
    ]


def test_every_answer_has_a_boundary_of_its_own(root):
    asked = {"Range": "bytes=0-1,4-5"}
    with serving(root) as running, Client(running) as client:
        types = {client.ask("/a.txt", headers=asked).headers["content-type"] for _ in range(3)}
    assert len(types) == 3


@pytest.mark.parametrize(
    ("value", "status", "content_range"),
    [
        ("bytes=0-9,200-", 206, "bytes 0-9/100"),  # of which one is there: no parts
        ("bytes=200-300,-5,", 206, "bytes 95-99/100"),
        ("bytes=100-,200-300,-0", 416, "bytes */100"),
        ("bytes=0-9,9-19", 200, None),  # overlapping
        ("bytes=0-,0-,0-", 200, None),
        ("bytes=50-59,-60", 200, None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(MOST_RANGES + 1)), 200, None),
    ],
)
def test_ranges_that_are_not_worth_parts_have_none(root, value, status, content_range):
    with serving(root) as running:
        reply = ask(running, "/a.txt", headers={"Range": value})
    assert (reply.status, reply.headers.get("content-range")) == (status, content_range)
    if status != 416:
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    if status == 200:
        assert reply.body == TEXT


def test_several_ranges_of_another_version_get_the_whole_file_and_head_knows_none(root):
    asked = {"Range": "bytes=0-1,4-5"}
    with serving(root) as running, Client(running) as client:
        tag = client.ask("/a.txt", "HEAD").headers["etag"]
        kept = client.ask("/a.txt", headers={**asked, "If-Range": tag})
        other = client.ask("/a.txt", headers={**asked, "If-Range": '"other"'})
        head = client.ask("/a.txt", "HEAD", headers=asked)
    assert (kept.status, len(parts_of(kept.headers["content-type"], kept.body))) == (206, 2)
    assert (other.status, other.body) == (200, TEXT)
    assert (head.status, head.headers["content-length"]) == (200, "100")


def test_it_is_each_part_that_is_of_a_compressed_form(root):
    asked = {"Range": "bytes=0-1,4-5", "Accept-Encoding": "gzip"}
    with serving(root, precompressed=["gzip"]) as running:
        reply = ask(running, "/a.txt", headers=asked)
    assert "content-encoding" not in reply.headers
    assert reply.headers["vary"] == "Accept-Encoding"
    packed = (root / "a.txt.gz").read_bytes()
    parts = parts_of(reply.headers["content-type"], reply.body)
    assert [data for _, data in parts] == [packed[0:2], packed[4:6]]
    for fields, _ in parts:
        assert fields["content-encoding"] == "gzip"
        assert fields["content-type"] == "text/plain; charset=utf-8"


# -- a client and a server of others -------------------------------------------------------------

NGINX = """\
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log crit;
events {{ }}
http {{
  access_log off; default_type application/octet-stream;
  client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def by_curl(port: int, ranges: str) -> tuple[int, str, str, bytes]:
    """Status, type, range and body."""
    with tempfile.NamedTemporaryFile() as body:
        said = "%{http_code}\n%{content_type}\n%header{content-range}"
        command = ["curl", "-sS", "-r", ranges, "-o", body.name, "-w", said]
        url = f"http://127.0.0.1:{port}/a.bin"
        done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
        status, type_, content_range = done.stdout.split("\n")
        return int(status), type_, content_range, Path(body.name).read_bytes()


def test_curl_gets_the_parts_that_nginx_gives(root, tmp_path_factory):
    home, port = tmp_path_factory.mktemp("nginx"), free_port()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(home=home, port=port, root=root))
    command = ["nginx", "-e", "stderr", "-p", str(home), "-c", str(config)]
    with serving(root) as running, subprocess.Popen(mortal(command)) as nginx:
        try:
            eventually(
                lambda: socket.create_connection(("127.0.0.1", port)).close() or True, "nginx"
            )
            for ranges in ("0-9,20-29", "20-29,0-9", "5-", f"0-9,{SIZE}-", f"{SIZE}-", "-9,0-0"):
                *ours, our_body = by_curl(running.port, ranges)
                *theirs, their_body = by_curl(port, ranges)
                if ours[1].startswith("multipart"):
                    assert ours[0] == theirs[0] == 206
                    assert parts_of(ours[1], our_body) == parts_of(theirs[1], their_body)
                else:
                    assert (ours[0], ours[2]) == (theirs[0], theirs[2]), ranges
                    assert ours[0] == 416 or our_body == their_body, ranges
        finally:
            nginx.terminate()
