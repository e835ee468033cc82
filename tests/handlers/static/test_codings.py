"""Which form of a file a client gets, by what it says of codings."""

import pytest

from fastproxy.handlers.static.codings import wanted_codings
from fastproxy.message import RequestHead

OFFERED = ("br", "zstd", "gzip")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, []),
        ("", []),
        ("gzip", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("GZIP", ["gzip"]),
        ("gzip, br", ["br", "gzip"]),
        ("gzip;q=1, br;q=0.5", ["gzip", "br"]),
        ("gzip ; q=0.8 , br;Q=0.8", ["br", "gzip"]),
        ("br;q=0, gzip", ["gzip"]),
        ("*", ["br", "zstd", "gzip"]),
        ("*;q=0.1, br;q=0", ["zstd", "gzip"]),
        ("identity", []),
        ("identity;q=0.5, gzip;q=0.4, br;q=0.6", ["br"]),
        ("identity;q=0, gzip", ["gzip"]),
        ("gzip;q=2", []),
        ("gzip;q=abc", []),
        ("gzip br", []),
        ("deflate", []),
    ],
)
def test_codings_are_ranked_by_quality_then_by_our_order(
    value: str | None, wanted: list[str]
) -> None:
    headers = [] if value is None else [(b"Accept-Encoding", value.encode())]
    assert wanted_codings(RequestHead(b"GET", b"/", 1, headers), OFFERED) == wanted


def test_several_fields_are_one_list() -> None:
    headers = [(b"accept-encoding", b"gzip;q=0.1"), (b"Accept-Encoding", b"br")]
    assert wanted_codings(RequestHead(b"GET", b"/", 1, headers), OFFERED) == ["br", "gzip"]
