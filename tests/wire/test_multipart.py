"""A form is read alike however its bytes were cut, as others read it, or refused."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser
from werkzeug.sansio import multipart as werkzeug

from fastproxy.errors import BadForm, ClientFault, FormTooLarge
from fastproxy.wire.multipart import Event, FormParser
from fastproxy.wire.part_head import PartHead, boundary_of, parse_part_head

B = b"xYzZY"


@dataclass(frozen=True)
class Read:
    """One part, whole."""

    head: PartHead
    data: bytes


def part(head: bytes, data: bytes, boundary: bytes = B) -> bytes:
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, data)


def field(name: str, data: bytes, boundary: bytes = B) -> bytes:
    return part(b'Content-Disposition: form-data; name="%b"' % name.encode(), data, boundary)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(pieces: Sequence[bytes], boundary: bytes = B) -> list[Read]:
    """All parts of a form that comes in these pieces. Raises what the parser raises."""
    parser = FormParser(boundary)
    parts: list[Read] = []
    kept, data = b"", b""
    for piece in pieces:
        kept += piece
        at = 0
        while True:
            event, stop = parser.next(kept, at, len(kept))
            assert at <= stop <= len(kept)
            if event is Event.DATA:
                data += kept[at:stop]
            elif event is Event.PART_END:
                parts.append(Read(parser.part, data))
                data = b""
            at = stop
            if event is Event.MORE:
                break
        kept = kept[at:]
        assert len(kept) <= 8192 + 80, "more is kept than a head or a boundary"
    parser.finish()
    return parts


def verdict(pieces: Sequence[bytes]) -> object:
    """The parts, or what is wrong."""
    try:
        return read(pieces)
    except ClientFault as fault:
        return type(fault)


# Pieces of boundaries, so that what looks like one is frequent.
near = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-", B, B[:3], b"\r\n--" + B[:-1], b" ", b"x"]),
    max_size=12,
).map(b"".join)
names = st.text("abc[]é漢 .-_", min_size=1, max_size=12).filter(str.strip)
filenames = st.text("abc é漢;=,.", max_size=12).filter(lambda name: name not in (".", ".."))
contents = st.one_of(near, st.binary(max_size=200))
cuts = st.lists(st.integers(0, 4000), max_size=30)


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str | None, bytes]]]:
    """(the bytes, what is in them), by RFC 7578."""
    fields = []
    body = draw(st.sampled_from([b"", b"\r\n", b"a preamble\r\n", b"\r\n\r\n--" + B[:2] + b"\r\n"]))
    for _ in range(draw(st.integers(0, 4))):
        name, data = draw(names), draw(contents)
        if b"\r\n--" + B in b"\r\n" + data:
            data = b""
        filename = draw(st.one_of(st.none(), filenames))
        head = f'Content-Disposition: form-data; name="{name}"'
        head += "" if filename is None else f'; filename="{filename}"'
        kind = draw(st.sampled_from(["", "\r\nContent-Type: text/plain", "\r\nX-Other: 1"]))
        body += part((head + kind).encode(), data)
        fields.append((name, filename, data))
    body += b"--" + B + b"--" + draw(st.sampled_from([b"", b"\r\n", b"\r\nepilogue", b" \t\r\n"]))
    return body, fields


@given(forms(), cuts)
def test_a_form_is_read_alike_however_it_was_cut(
    form: tuple[bytes, list[tuple[str, str | None, bytes]]], cuts: list[int]
) -> None:
    body, fields = form
    parts = read(cut(body, cuts))
    assert [(one.head.name, one.head.filename, one.data) for one in parts] == fields


@given(near.map(lambda text: field("a", text) + text), cuts)
@example(b"--" + B + b" --\r\n", [10])
@example(b"--" + B + b"\t\r\n\r\n", list(range(20)))
def test_garbage_is_judged_alike_however_it_was_cut(body: bytes, cuts: list[int]) -> None:
    assert verdict(cut(body, cuts)) == verdict([body])


@given(st.binary(max_size=400), cuts)
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes, cuts: list[int]) -> None:
    assert verdict(cut(b"--" + B + b"\r\n" + body, cuts)) in (BadForm, FormTooLarge, [])


_BARE = re.compile(rb"(?:\r|(?<!\r)\n)--" + re.escape(B))


def _by_werkzeug(body: bytes) -> list[tuple[str, str | None, bytes]]:
    decoder = werkzeug.MultipartDecoder(B)
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts: list[tuple[str, str | None, bytes]] = []
    while not isinstance(event := decoder.next_event(), werkzeug.Epilogue):
        if isinstance(event, werkzeug.Field):
            parts.append((event.name, None, b""))
        elif isinstance(event, werkzeug.File):
            parts.append((event.name, event.filename, b""))
        elif isinstance(event, werkzeug.Data):
            name, filename, data = parts[-1]
            parts[-1] = name, filename, data + event.data
    return parts


def _by_python_multipart(body: bytes) -> list[bytes]:
    parts: list[bytes] = []

    def data(piece: bytes, start: int, end: int) -> None:
        parts[-1] += piece[start:end]

    parser = MultipartParser(B, {"on_part_begin": lambda: parts.append(b""), "on_part_data": data})
    parser.write(body)
    parser.finalize()
    return parts


@given(forms().filter(lambda form: form[0].startswith(b"--" + B) and form[1]))
def test_werkzeug_and_python_multipart_read_the_same(
    form: tuple[bytes, list[tuple[str, str | None, bytes]]],
) -> None:
    body, _ = form
    assume(_BARE.search(body) is None)  # Werkzeug ends lines there, too
    parts = read([body])
    assert _by_werkzeug(body) == [(one.head.name, one.head.filename, one.data) for one in parts]
    assert _by_python_multipart(body) == [one.data for one in parts]


@given(
    st.lists(st.tuples(st.text("abcé", min_size=1), st.text("ab\r\n-")), min_size=1, max_size=3),
    st.text("abc.é %", min_size=1).filter(lambda name: name not in (".", "..")),
    st.binary(max_size=100),
)
def test_what_httpx_sends_is_read(fields: list[tuple[str, str]], name: str, data: bytes) -> None:
    request = httpx.Request(
        "POST", "http://a/", data=dict(fields), files={"f": (name, data, "image/png")}
    )
    boundary = boundary_of(request.headers["Content-Type"].encode())
    assert boundary
    *texts, file = read([request.read()], boundary)
    assert {one.head.name: one.data.decode() for one in texts} == dict(fields)
    assert file == Read(PartHead("f", name, "image/png"), data)


# -- what is refused ---------------------------------------------------------------------------

_ENDLESS = b"--" + B + b"\r\n" + b"A" * 20_000
BROKEN = {
    "nothing": b"",
    "no last boundary": field("a", b"1"),
    "an end within the last boundary": field("a", b"1") + b"--" + B + b"-",
    "a head that does not end": b"--" + B + b"\r\nContent-Disposition: form-data",
    "a part without a head": b"--" + B + b"\r\n\r\nx\r\n--" + B + b"--",
    "a boundary within data": field("a", b"1\r\n--" + B + b"x") + b"--" + B + b"--",
    "a boundary that goes on": b"--" + B + b"x\r\n" + field("a", b"1"),
    "much white space behind a boundary": b"--" + B + b" " * 65 + b"\r\n",
    "lines without CR": (field("a", b"1") + b"--" + B + b"--").replace(b"\r", b""),
    "a head without CR": part(b'Content-Disposition: form-data;\n name="a"', b"1"),
    "no Content-Disposition": part(b"Content-Type: text/plain", b"1"),
    "no name": part(b"Content-Disposition: form-data", b"1"),
    "an attachment": part(b'Content-Disposition: attachment; name="a"', b"1"),
    "two Content-Dispositions": part(
        b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"', b""
    ),
    "a name twice": part(b'Content-Disposition: form-data; name="a"; name="b"', b""),
    "a folded line": part(b'Content-Disposition: form-data;\r\n name="a"', b""),
    "white space before the colon": part(b'Content-Disposition : form-data; name="a"', b""),
    "a NUL in a name": part(b'Content-Disposition: form-data; name="a\0"', b""),
    "a quote in a name": part(rb'Content-Disposition: form-data; name="a\"; filename=\"b"', b""),
    "a name that is not UTF-8": part(b'Content-Disposition: form-data; name="\xff"', b""),
    "an empty name": part(b'Content-Disposition: form-data; name=""', b""),
    "a name that does not end": part(b'Content-Disposition: form-data; name="a', b""),
    "a form within a form": part(
        b'Content-Disposition: form-data; name="a"\r\nContent-Type: Multipart/Mixed', b""
    ),
    "base64": part(
        b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64', b""
    ),
}
LONG = {
    "a long head": _ENDLESS,
    "a long preamble": b"x" * 9000 + field("a", b""),
    "a long epilogue": b"--" + B + b"--" + b"x" * 9000,
    "a long name": field("n" * 256, b""),
    "a long file name": part(
        b'Content-Disposition: form-data; name="a"; filename="%b"' % (b"n" * 256), b""
    ),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_forms_are_the_clients_fault(body: bytes) -> None:
    assert verdict([body]) is BadForm
    assert verdict(cut(body, range(len(body)))) is BadForm


@pytest.mark.parametrize("body", LONG.values(), ids=LONG)
def test_what_is_too_long_is_refused_before_it_ends(body: bytes) -> None:
    assert verdict([body]) is FormTooLarge
    assert verdict(cut(body, range(0, len(body), 7))) is FormTooLarge


def test_backslashes_without_end_take_no_time_that_grows_with_their_powers() -> None:
    head = b'Content-Disposition: form-data; name="a"; filename="' + b"\\" * 8000
    assert verdict([part(head, b"")]) is BadForm


def test_blanks_without_end_take_no_time_that_grows_with_their_square() -> None:
    with pytest.raises(BadForm):
        parse_part_head(b"Content-Disposition:" + b" " * 200_000 + b"\0", 100)


@pytest.mark.parametrize(
    ("value", "filename"),
    [
        ('name=a; filename="b"', "b"),
        ('name=a; filename="../../etc/passwd"', "passwd"),
        (r'name=a; filename="C:\Users\me\b.txt"', "b.txt"),
        (r'name=a; filename="b\"c.txt"', 'b"c.txt'),
        (r'name=a; filename="..\\b.txt"', "b.txt"),
        ('name=a; filename="a;b=c"', "a;b=c"),
        ('name=a; filename="b%22c%0D"', "b%22c%0D"),
        ('name=a; filename=""', ""),
        ("name=a; FileName=b.txt ;", "b.txt"),
        ('name=a; filename="ä.txt"', "ä.txt"),
        ("name=a; filename*=UTF-8''%e4%bd%a0.txt", "你.txt"),
        ("name=a; filename=\"_.txt\"; filename*=utf-8'en'%C3%A4.txt", "ä.txt"),
        ("name=a; filename*=iso-8859-1''%E4", "ä"),
        ("name=a; filename*=UTF-8''..%2F..%2Fb", "b"),
        ("name=a", None),
    ],
)
def test_a_files_name_is_the_last_segment_of_what_the_client_says(
    value: str, filename: str | None
) -> None:
    head = parse_part_head(f"Content-Disposition: form-data; {value}".encode(), 255)
    assert (head.name, head.filename) == ("a", filename)


def test_a_files_name_in_an_old_coding_is_readable_in_part() -> None:
    head = parse_part_head(b'Content-Disposition: form-data; name=a; filename="b\xe4.txt"', 255)
    assert head.filename == "b\N{REPLACEMENT CHARACTER}.txt"


@pytest.mark.parametrize(
    "value",
    [
        'filename=".."',
        'filename="a/."',
        'filename="a/"',
        "filename*=UTF-8''a%00b",
        "filename*=UTF-8''a%0Ab",
        "filename*=UTF-8''a%4",
        "filename*=EBCDIC''a",
        "filename*0=a; filename*1=b",
        "name*=UTF-8''a",
        'filename="a"; filename="b"',
        "filename=a b",
    ],
)
def test_file_names_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(BadForm):
        parse_part_head(f"Content-Disposition: form-data; name=a; {value}".encode(), 255)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', b"a b:c"),
        (b"multipart/form-data;boundary=" + b"a" * 70, b"a" * 70),
        (b"application/json", None),
        (b"application/x-www-form-urlencoded", None),
        (b"", None),
    ],
)
def test_the_boundary_is_found(content_type: bytes, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="a "',
        b"multipart/form-data; boundary=" + b"a" * 71,
        b"multipart/form-data; boundary=a; boundary=b",
        b'multipart/form-data; boundary="a',
        b"multipart/form-data; boundary=a{b",
        b"multipart/form-data boundary=a",
        b"multipart/mixed; boundary=a",
        b"text/plain, multipart/form-data; boundary=a",
        b"\x0bmultipart/form-data; boundary=a",
    ],
)
def test_a_multipart_body_that_may_be_read_in_two_ways_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadForm):
        boundary_of(content_type)
