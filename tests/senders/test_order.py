"""What a backend may write to have something sent, and what it may not."""

import base64
import json

import pytest

from fastproxy.errors import BadOrder
from fastproxy.senders.order import Order, has_order, read_order

FIELD = b"fastproxy-send"


def sealed(order: object, *, padded: bool = True) -> bytes:
    text = base64.urlsafe_b64encode(json.dumps(order).encode())
    return text if padded else text.rstrip(b"=")


def read(*controls: tuple[bytes, bytes]) -> Order:
    return read_order(controls, FIELD)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("text", ["a", "ab", "abc", "\u00ff\u00fe\u00fd"])
def test_an_order_is_a_kind_and_json(text: str, padded: bool) -> None:
    order = read((FIELD, b"git-blob:" + sealed({"oid": text}, padded=padded)))
    assert order.kind == "git-blob"
    assert json.loads(order.text) == {"oid": text}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"x-sendfile", "file"),
        (b"x-lighttpd-send-file", "file"),
        (b"x-accel-redirect", "location"),
    ],
)
def test_a_path_is_an_order_too(name: bytes, kind: str) -> None:
    order = read((name, '/srv/ä "b".txt'.encode()))
    assert order.kind == kind
    assert json.loads(order.text) == {"path": '/srv/ä "b".txt'}


@pytest.mark.parametrize(
    "controls",
    [
        [],
        [(FIELD, b"file:e30"), (FIELD, b"file:e30")],
        [(FIELD, b"file:e30"), (b"x-sendfile", b"/a")],
        [(FIELD, b"file")],
        [(FIELD, b"")],
        [(FIELD, b":e30")],
        [(FIELD, b"../file:e30")],
        [(FIELD, b"FILE:e30")],
        [(FIELD, b"k" * 33 + b":e30")],
        [(FIELD, b"file:{}")],
        [(FIELD, b"file:e")],
        [(FIELD, b"file:e3 0")],
        [(FIELD, b"file:+/+/")],
        [(FIELD, b"file:e30=====")],
        [(b"x-sendfile", b"/srv/\xff")],
    ],
)
def test_what_is_not_exactly_one_order_is_the_backends_fault(
    controls: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(BadOrder):
        read_order(controls, FIELD)


def test_other_control_fields_are_no_orders() -> None:
    assert not has_order([(b"fastproxy-detect-content-type", b"true")], FIELD)
    assert not has_order([(b"gitlab-workhorse-send-data", b"a:b")], FIELD)
    assert has_order([(b"fastproxy-x", b""), (b"x-sendfile", b"")], FIELD)
