"""Whatever an application builds, fastproxy understands; what it would not, cannot be built."""

import json
from dataclasses import fields
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.backend import Permission, Presigned
from fastproxy.config.schema import UploadRoute
from fastproxy.protocol import HEX_LENGTH
from fastproxy.uploads import answer

ROUTE = UploadRoute(allowed_hosts=("store.example",))
URL = "https://store.example/a?sig=1"
PARTS = {"part_urls": [URL, URL], "part_size": 5 << 20, "complete_url": URL, "abort_url": URL}


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def permissions(draw: st.DrawFn) -> Permission:
    names = draw(st.lists(st.sampled_from(sorted(HEX_LENGTH)), unique=True))
    text = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=200)
    return Permission(
        key=draw(text),
        id=draw(text),
        max_size=draw(optional(st.integers(0, 1 << 60))),
        hashes=names,
        expected={name: "a" * HEX_LENGTH[name] for name in names[:1]},
        part_size=draw(optional(st.integers(1, 1 << 40))),
        timeout=draw(optional(st.floats(1, 1e9))),
        size=draw(optional(st.integers(0, 1 << 60))),
        presigned=draw(st.sampled_from([None, Presigned(put_url=URL), Presigned(**PARTS)])),
    )


@given(permissions())
def test_fastproxy_reads_every_permission_as_it_was_meant(permission: Permission) -> None:
    read = answer.read_permission(permission.json(), ROUTE)
    for field in fields(Permission):
        meant, found = getattr(permission, field.name), getattr(read, field.name)
        if field.name != "presigned":
            assert (tuple(meant) if isinstance(meant, list) else meant) == found
        elif meant is not None:
            assert found.put_url == meant.put_url
            assert found.part_urls == tuple(meant.part_urls)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Permission, answer.Permission), (Presigned, answer.PresignedAnswer)]
)
def test_the_fields_are_the_same(ours: Any, theirs: Any) -> None:
    assert [f.name for f in fields(ours)] == [f.name for f in msgspec.structs.fields(theirs)]


def test_what_is_left_out_is_not_said() -> None:
    assert json.loads(Permission().json()) == {}
    assert json.loads(Permission(max_size=0).json()) == {"max_size": 0}
    bare = Presigned(put_url=URL, headers={})
    assert json.loads(Permission(presigned=bare).json()) == {
        "presigned": {"put_url": URL, "headers": {}}
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "k" * 1025),
        ("key", "ü" * 513),
        ("key", "a\nb"),
        ("id", "ü" * 1025),
        ("max_size", -1),
        ("size", -1),
        ("hashes", ["sha3"]),
        ("hashes", ""),
        ("hashes", "md5"),
        ("expected", {"md5": "A" * 32}),
        ("expected", {"md5": "a" * 31}),
        ("part_size", 0),
        ("timeout", 0.5),
        ("timeout", float("nan")),
    ],
)
def test_what_fastproxy_would_refuse_is_refused_here(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Permission(**{field: value})


@pytest.mark.parametrize(
    "given_urls",
    [{}, {"get_url": URL}, {**PARTS, "abort_url": ""}, {**PARTS, "part_size": 0}],
)
def test_urls_that_do_not_suffice_are_refused(given_urls: Any) -> None:
    with pytest.raises(ValueError, match=r"put_url|part_urls"):
        Presigned(**given_urls)
