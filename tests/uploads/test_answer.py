"""A permission is understood as it was meant, or refused with the field's name."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.schema import UploadRoute
from fastproxy.errors import BadAuthorizeAnswer, SizeMismatch
from fastproxy.uploads.answer import Permission, presigned_target, read_permission

ROUTE = UploadRoute(allowed_hosts=("store.example", "10.0.0.1:9000"))


def read(**fields: Any) -> Any:
    """The permission of that JSON."""
    return read_permission(json.dumps(fields).encode(), ROUTE)


def test_everything_may_be_left_out() -> None:
    permission = read()
    assert (permission.key, permission.max_size, permission.presigned) == ("", None, None)


def test_every_field_arrives() -> None:
    permission = read(
        key="a/b",
        id="7",
        max_size=0,
        hashes=["md5"],
        expected={"sha256": "0" * 64},
        part_size=5242880,
        timeout=1.5,
    )
    assert (permission.key, permission.id, permission.max_size) == ("a/b", "7", 0)
    assert permission.hashes == ("md5",)
    assert permission.expected == {"sha256": "0" * 64}
    assert (permission.part_size, permission.timeout) == (5242880, 1.5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"maxsize": 5}, "maxsize"),
        ({"max_size": "5"}, "max_size"),
        ({"max_size": -1}, "max_size"),
        ({"max_size": 1.5}, "max_size"),
        ({"size": -1}, "size"),
        ({"part_size": 0}, "part_size"),
        ({"timeout": 0}, "timeout"),
        ({"hashes": ["md4"]}, "md4"),
        ({"expected": {"sha256": "00"}}, "sha256"),
        ({"expected": {"sha256": "A" * 64}}, "sha256"),
        ({"key": "a\nb"}, "key"),
        ({"key": "x" * 1025}, "key"),
        ({"key": None}, "key"),
        ({"id": "x" * 2049}, "id"),
        ({"presigned": {"url": "x"}}, "url"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadAuthorizeAnswer) as caught:
        read(**fields)
    assert named in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://store.example.evil.example/x",
        "https://store.example@evil.example/x",
        "https://user@store.example/x",
        "http://10.0.0.1:9001/x",
        "http://127.0.0.1/x",
        "http://[::1/x",
        "/x",
    ],
)
def test_urls_of_other_hosts_are_refused(url: str) -> None:
    for field in ("put_url", "get_url", "delete_url", "complete_url", "abort_url"):
        with pytest.raises(BadAuthorizeAnswer, match="presigned"):
            read(presigned={field: url})
    with pytest.raises(BadAuthorizeAnswer, match="presigned"):
        read(presigned={"part_urls": ["https://store.example/1", url]})


@pytest.mark.parametrize("url", ["https://Store.Example/x?sig=1", "http://10.0.0.1:9000/x"])
def test_urls_of_allowed_hosts_pass(url: str) -> None:
    target = presigned_target(read(presigned={"put_url": url}).presigned)
    assert target.put_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "b\r\nc: d"),
        ("a:b", "c"),
        ("\xe4", "b"),
        ("a", "\u20ac"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_header_fields_that_are_none_or_frame_the_request_are_refused(
    name: str, value: str
) -> None:
    presigned = {"put_url": "https://store.example/x", "headers": {name: value}}
    with pytest.raises(BadAuthorizeAnswer, match="headers"):
        presigned_target(read(presigned=presigned).presigned)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_permission_or_refused(body: bytes) -> None:
    with suppress(BadAuthorizeAnswer):
        assert isinstance(read_permission(body, ROUTE), Permission)


def test_a_size_is_judged_as_soon_as_the_length_is_known() -> None:
    permission = read(size=10, max_size=20)
    assert permission.limits(None) == permission.limits(10) == [20, 10]
    for wrong in (0, 9, 11):
        with pytest.raises(SizeMismatch):
            permission.limits(wrong)
    assert read().limits(5) == []
