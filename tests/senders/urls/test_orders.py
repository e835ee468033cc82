"""What orders for other hosts say, ours and Workhorse's."""

import ipaddress
from typing import Any, cast

import msgspec
import pytest

from fastproxy.errors import BadOrder
from fastproxy.senders.contract import Delivery
from fastproxy.senders.urls.fetch import Exempt, Fetch
from fastproxy.senders.urls.orders import Url, Workhorse, _host_of, fetch_as_workhorse, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("10us5ns", 10.005e-6), ("10s", 10)],
)
def test_durations_are_read_as_go_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "0", "0s"])
def test_no_duration_is_none(text: str) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize("text", ["1", "s", "1m 30s", "-1s", "1d", "1sx", "\u0663s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadOrder):
        seconds(text)


HEADERS = [(b"Authorization", b"t"), (b"Content-Type", b"a/b"), (b"X-Own", b"1")]


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        *((status, "POST", "GET") for status in (301, 302, 303)),
        *((status, "DELETE", "GET") for status in (301, 302, 303)),
        *((status, "POST", "POST") for status in (307, 308)),
        *((status, method, method) for status in (301, 303, 307) for method in ("GET", "HEAD")),
    ],
)
def test_a_redirect_keeps_the_method_or_makes_it_get(
    status: int, method: str, expected: str
) -> None:
    body = b"" if method in ("GET", "HEAD") else b"body"
    then = Fetch("https://a/x/y", method, body, HEADERS).redirected(status, b"../z?q#f")
    assert (then.url, then.method) == ("https://a/z?q#f", expected)
    assert then.body == (body if expected == method else b"")
    dropped = {b"Content-Type"} if expected != method else set()
    assert [name for name, _ in then.headers] == [n for n, _ in HEADERS if n not in dropped]


@pytest.mark.parametrize("location", [b"//b/", b"http://a/", b"https://a:444/", b"https://A.b/"])
def test_another_origin_gets_no_credentials(location: bytes) -> None:
    then = Fetch("https://a/x", "POST", b"body", HEADERS).redirected(307, location)
    assert [name for name, _ in then.headers] == [b"Content-Type", b"X-Own"]
    assert then.body == b"body"


OURS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/16", "fd00::/8")]


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({}, []),
        ({"allow_localhost": True}, ["127.0.0.0/16"]),
        ({"allowed_endpoints": ["10.2.0.0/16", "11.0.0.0/8"]}, ["10.2.0.0/16"]),
        ({"allowed_endpoints": ["0.0.0.0/0"]}, ["10.0.0.0/8", "127.0.0.0/16"]),
        ({"allowed_endpoints": ["http://10.1.1.1:9000/x"]}, ["10.1.1.1/32"]),
        ({"allowed_endpoints": ["fd12::1"]}, ["fd12::1/128"]),
        ({"allowed_endpoints": ["[fd12::1]:80"]}, ["fd12::1/128"]),
        ({"allowed_uris": ["https://other.example:9000"]}, []),
        ({"allowed_uris": ["https://Store.Example:9000"]}, [str(network) for network in OURS]),
    ],
)
def test_what_an_order_exempts_only_narrows_the_configuration(
    what: dict[str, object], left: list[str]
) -> None:
    order = Workhorse(url="http://store.example/x", ssrf_filter=True, **what)  # type: ignore[arg-type]
    exempt = fetch_as_workhorse(order).exempt
    assert exempt is not None
    assert [str(network) for network in exempt.among(OURS, "store.example")] == left


def test_an_order_without_the_filter_leaves_the_configuration_as_it_is() -> None:
    order = Workhorse(url="http://a", allowed_endpoints=["10.0.0.0/8"])
    assert fetch_as_workhorse(order).exempt is None
    assert Exempt().among(OURS, "a") == []


@pytest.mark.parametrize(
    ("kind", "order", "name"),
    [
        (Workhorse, {"URL": "http://a", "TransformConfig": {"Key": "k"}}, "TransformConfig"),
        (Url, {"url": "http://a", "max_bytez": 5}, "max_bytez"),
        (Url, {"url": "http://a", "method": "CONNECT"}, "CONNECT"),
        (Url, {"url": "http://a", "connect_timeout": -1}, "connect_timeout"),
    ],
)
def test_what_is_refused_is_named(kind: type, order: dict[str, object], name: str) -> None:
    nobody = cast("Any", None)
    with pytest.raises(BadOrder, match=name):
        Delivery(nobody, nobody, msgspec.json.encode(order)).parse(kind)


@pytest.mark.parametrize("text", [b'{"url": "\\ud800"}', b'{"url": "\xff"}', b'["http://a"]', b""])
def test_what_is_no_text_is_no_order(text: bytes) -> None:
    nobody = cast("Any", None)
    with pytest.raises(BadOrder):
        Delivery(nobody, nobody, text).parse(Url)


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(BadOrder):
        _host_of("http://[::1")
