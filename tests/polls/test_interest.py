import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.message import RequestHead
from fastproxy.polls.interest import make_reader

JSON = (b"Content-Type", b"application/json; charset=utf-8")


def head(target: bytes = b"/", *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"POST", target, 1, list(fields))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"token": "abc", "n": 1}', "abc"),
        (b'{"a": {"token": "inner"}, "token": "\\u00e9"}', "é"),
        (b'{"token": "first", "token": "last"}', "last"),
        (b'{"token": 5}', ""),
        (b'{"token": null}', ""),
        (b'{"other": "abc"}', ""),
        (b'["token"]', ""),
        (b'{"token": "abc"', ""),
        (b'{"token": "\xff"}', ""),
        (b"", ""),
    ],
)
def test_a_field_of_json_counts_when_it_is_text(body: bytes, found: str) -> None:
    read = make_reader("json:token")
    assert read(head(b"/", JSON), body) == found
    assert read(head(b"/", (b"Content-Type", b"text/plain")), body) == ""
    assert read(head(b"/"), body) == ""


def test_headers_and_queries_are_read_too() -> None:
    request = head(b"/a?key=x%20y&n=1&key=z", (b"X-Key", b"v"))
    assert make_reader("header:x-key")(request, b"") == "v"
    assert make_reader("header:other")(request, b"") == ""
    assert make_reader("query:key")(request, b"") == "z"
    assert make_reader("query:other")(request, b"") == ""
    assert make_reader("query:k")(head(b"/?" + b"k=1&" * 200), b"") == ""


@given(st.binary(max_size=200))
def test_no_body_and_no_query_makes_a_reader_raise(data: bytes) -> None:
    make_reader("json:token")(head(b"/?" + data, JSON), data)
    make_reader("query:token")(head(b"/?" + data, JSON), data)


@pytest.mark.parametrize("source", ["token", "json:", "cookie:x", ""])
def test_other_sources_are_mistakes(source: str) -> None:
    with pytest.raises(ValueError, match="none of"):
        make_reader(source)
