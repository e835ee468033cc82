"""What a body is by its first bytes, and whether a browser may show it."""

from collections.abc import Sequence

import pytest

from fastproxy.exchange import PENDING, Stage
from fastproxy.message import ResponseHead
from fastproxy.senders.detection import (
    LOOKED_AT,
    Detecting,
    content_type_of,
    detected,
    wants_detection,
)
from fastproxy.wire.framing import Piece

TEXT = b"text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("first", "type_"),
    [
        (b"<!DOCTYPE html><script>alert(1)</script>", TEXT),
        (b"  \n<html>", TEXT),
        (b'<?xml version="1.0"?><x/>', TEXT),
        (b"var a = 1;", TEXT),
        ("käse".encode(), TEXT),
        (b"\xff\xfeh\0i\0", TEXT),
        (b"<svg onload=alert(1)>", b"image/svg+xml"),
        (b'\xef\xbb\xbf <?xml version="1.0"?>\n<!-- a --> <svg xmlns="x">', b"image/svg+xml"),
        (b'<!DOCTYPE svg PUBLIC "x">\n<SVG>', b"image/svg+xml"),
        (b"<svgx>", TEXT),
        (b"<!-- <svg> --><!-->--><svg>", b"image/svg+xml"),
        (b"<!-- --><b><!-- --><svg>", TEXT),
        (b"<!---->" * 585, TEXT),  # in no more time than others
        (b"<!--" * 1024, TEXT),
        (b"<?xml " * 682, TEXT),
        (b"%PDF-1.7", b"application/pdf"),
        (b"GIF89a;", b"image/gif"),
        (b"\x89PNG\r\n\x1a\n", b"image/png"),
        (b"\xff\xd8\xff\xe0", b"image/jpeg"),
        (b"RIFF1234WEBPVP8 ", b"image/webp"),
        (b"\0\0\0\x18ftypmp42", b"video/mp4"),
        (b"\x1a\x45\xdf\xa3", b"video/webm"),
        (b"PK\3\4", b"application/zip"),
        (b"\x1f\x8b\x08\0", b"application/x-gzip"),
        (b"\x7fELF\0\1", b"application/octet-stream"),
        (b"MZ\x90\0", b"application/octet-stream"),
    ],
)
def test_the_first_bytes_tell_the_type(first: bytes, type_: bytes) -> None:
    assert content_type_of(first) == type_


@pytest.mark.parametrize(
    ("first", "before", "after"),
    [
        (b"text", None, b"inline"),
        (b"text", b'attachment; filename="a.txt"', b'attachment; filename="a.txt"'),
        (b"text", b'Attachment ; filename="a.txt"', b'Attachment; filename="a.txt"'),
        (b"GIF89a", b'inline; filename="a"', b'inline; filename="a"'),
        (b"<svg>", b'inline; filename="a.svg"', b'attachment; filename="a.svg"'),
        (b"\0\1", b"inline; filename*=UTF-8''%e2", b"attachment; filename*=UTF-8''%e2"),
        (b"PK\3\4", None, b"attachment"),
        (b"%PDF-", None, b"inline"),
    ],
)
def test_only_what_is_safe_is_shown(first: bytes, before: bytes | None, after: bytes) -> None:
    fields = dict(detected(first, before))
    assert fields[b"Content-Disposition"] == after
    assert fields[b"X-Content-Type-Options"] == b"nosniff"


@pytest.mark.parametrize("value", [b"true", b"True", b" 1", b"t"])
def test_the_backend_asks_for_it(value: bytes) -> None:
    head = ResponseHead(200, b"", [])
    head.controls = ((b"f-detect", value),)
    assert wants_detection(head, b"f-detect")
    assert not wants_detection(head, b"other")
    head.controls = ((b"f-detect", b"false"),)
    assert not wants_detection(head, b"f-detect")


class Told:
    """The Reply behind: what it was told, in order."""

    stage: Stage = PENDING
    backend_s = 0.0
    retries = 0

    def __init__(self) -> None:
        self.calls: list[object] = []

    def interim(self, head: ResponseHead) -> None:
        self.calls.append("interim")

    def respond(self, head: ResponseHead) -> None:
        self.calls.append(dict(head.headers))

    def write(self, pieces: Sequence[Piece]) -> None:
        self.calls.append(b"".join(pieces))

    def flush(self) -> None:
        self.calls.append("flush")

    def end(self) -> None:
        self.calls.append("end")

    def begin_tunnel(self, head: ResponseHead) -> None:
        raise AssertionError

    def end_tunnel_answer(self) -> None:
        raise AssertionError

    def fail(self, fault: Exception) -> None:
        self.calls.append("fail")


def test_a_body_is_held_back_until_enough_is_there_and_no_longer() -> None:
    told = Told()
    reply = Detecting(told)
    reply.respond(ResponseHead(200, b"", [(b"Content-Type", b"text/html"), (b"A", b"b")]))
    reply.write([b"<html>"])
    reply.flush()
    assert told.calls == []
    reply.write([b"x" * LOOKED_AT])
    fields, body = told.calls
    assert isinstance(fields, dict)
    assert fields[b"Content-Type"] == TEXT
    assert fields[b"A"] == b"b"
    assert body == b"<html>" + b"x" * LOOKED_AT
    reply.flush()
    reply.write([b"more"])
    reply.end()
    assert told.calls[2:] == ["flush", b"more", "end"]


def test_a_short_body_is_judged_at_its_end_and_an_empty_one_not_at_all() -> None:
    told = Told()
    reply = Detecting(told)
    reply.respond(ResponseHead(200, b"", [(b"Content-Type", b"text/html")]))
    reply.write([b"GIF", b"89a"])
    reply.end()
    assert isinstance(told.calls[0], dict)
    assert told.calls[0][b"Content-Type"] == b"image/gif"
    assert told.calls[1:] == [b"GIF89a", "end"]
    empty = Told()
    reply = Detecting(empty)
    reply.respond(ResponseHead(200, b"", [(b"Content-Type", b"text/html")]))
    reply.end()
    assert empty.calls == [{b"Content-Type": b"text/html"}, "end"]
