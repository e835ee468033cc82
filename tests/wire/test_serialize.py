"""Heads to bytes, and back to the same heads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.message import ResponseHead
from fastproxy.wire.head import RequestHeadParser, ResponseHeadParser
from fastproxy.wire.serialize import (
    field_lines,
    request_head,
    response_head,
    safe_fields,
    status_line,
)

names = st.from_regex(rb"X-[A-Za-z0-9-]{1,12}", fullmatch=True)
values = st.from_regex(rb"([!-~\x80-\xff]([ -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
headers = st.lists(st.tuples(names, values), max_size=8).filter(
    lambda fields: not any(n.lower().startswith(b"x-forwarded-") for n, _ in fields)
)


@given(st.integers(200, 599), headers)
def test_a_response_head_survives_the_wire(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    fields = [*fields, (b"Date", b"today")]
    raw = response_head(ResponseHead(status, b"Why", fields), b"Content-Length: 5\r\n")
    head = ResponseHeadParser().parse(raw)
    assert (head.status, head.reason, head.headers) == (status, b"Why", fields)
    assert head.content_length == 5


@given(headers)
def test_a_request_head_survives_the_wire(fields: list[tuple[bytes, bytes]]) -> None:
    raw = request_head(b"PUT", b"/a?b", b"Host: h\r\n" + field_lines(fields))
    head = RequestHeadParser().parse(raw)
    known = {b"x-request-id", b"x-real-ip", b"x-client-ip"}
    kept = [field for field in fields if field[0].lower() not in known]
    assert (head.method, head.target, head.headers) == (b"PUT", b"/a?b", kept)


def test_known_statuses_have_a_reason_and_others_an_empty_one() -> None:
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(404, b"Gone Fishing") == b"HTTP/1.1 404 Gone Fishing\r\n"
    assert status_line(299) == b"HTTP/1.1 299 \r\n"


@pytest.mark.parametrize(
    "field", [(b"A", b"b\r\nC: d"), (b"A", b"b\nC"), (b"A", b"\0"), (b"", b"b"), (b"A\nB", b"c")]
)
def test_fields_that_would_split_a_response_are_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="line break"):
        safe_fields([field])


@pytest.mark.parametrize("name", [b"A\rB", b"A B", b"A:B", b"A\0"])
def test_names_that_are_no_tokens_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        safe_fields([(name, b"c")])
