import json
from typing import Any

import pytest
import trustme

from fastproxy.channels.permission import Permission, Place, permission_reader
from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.protocol import GITLAB, NATIVE

ALLOWED = ("runner.example.com:8093", "shell.example.com", "[::1]:99")
PEM = trustme.CA().cert_pem.bytes().decode()

native = permission_reader(NATIVE, ALLOWED)
gitlab = permission_reader(GITLAB, ALLOWED)


def test_a_permission_may_say_nothing_at_all() -> None:
    assert native(b"{}") == Permission(None, (), (), None)


def test_everything_it_can_say() -> None:
    said = {
        "url": "wss://shell.example.com/session/1?x=%20y",
        "headers": {"Authorization": "token é"},
        "subprotocols": ["terminal.gitlab.com"],
        "ca_pem": PEM,
        "max_session": 90.5,
    }
    assert native(json.dumps(said).encode()) == Permission(
        Place("https://shell.example.com:443", b"/session/1?x=%20y", PEM),
        ((b"Authorization", b"token \xe9"),),
        (b"terminal.gitlab.com",),
        90.5,
    )


def test_gitlabs_words_among_others_of_its_answer() -> None:
    channel = {
        "Subprotocols": ["terminal.gitlab.com"],
        "Url": "wss://runner.example.com:8093/session/x/exec",
        "Header": {"Authorization": ["t"], "X-Twice": ["a", "b"]},
        "CAPem": PEM,
        "MaxSessionTime": 0,
    }
    said = {"Channel": channel, "GL_ID": "user-1", "TempPath": "/x"}
    found = gitlab(json.dumps(said).encode())
    assert found.place == Place("https://runner.example.com:8093", b"/session/x/exec", PEM)
    assert found.fields == ((b"Authorization", b"t"), (b"X-Twice", b"a"), (b"X-Twice", b"b"))
    assert found.max_session_s is None
    channel |= {"Header": None, "CAPem": "", "MaxSessionTime": 3600}
    assert gitlab(json.dumps({"Channel": channel}).encode()).max_session_s == 3600
    for missing in ("Url", "Subprotocols"):
        broken = {name: value for name, value in channel.items() if name != missing}
        with pytest.raises(BadAuthorizeAnswer):
            gitlab(json.dumps({"Channel": broken}).encode())


@pytest.mark.parametrize(
    "said",
    [
        {"url": "http://shell.example.com/"},
        {"url": "ws://elsewhere.example.com/"},
        {"url": "ws://runner.example.com/"},  # another port than the one that is allowed
        {"url": "ws://shell.example.com@elsewhere.example.com/"},
        {"url": "ws://user@shell.example.com/"},
        {"url": "ws://shell.example.com:99999/"},
        {"url": "ws://[::1/"},
        {"url": "ws://shell.example.com/a b"},
        {"url": "ws://shell.example.com/\r\nX: y"},
        {"url": "ws://shell.example.com/é"},
        {"url": "/path"},
        {"url": "wss://shell.example.com/", "ca_pem": "no certificate"},
        {"url": "ws://shell.example.com/", "ca_pem": PEM},
        {"ca_pem": PEM},
        {"headers": {"A b": "c"}},
        {"headers": {"A": "b\r\nC: d"}},
        {"headers": {"Host": "b"}},
        {"headers": {"Upgrade": "b"}},
        {"headers": {"Sec-WebSocket-Key": "b"}},
        {"headers": {"Content-Length": "5"}},
        {"subprotocols": ["a b"]},
        {"subprotocols": ["é"]},
        {"max_session": 0},
        {"max_session": -1},
        {"max_session": "1h"},
        {"unknown": 1},
        [],
    ],
    ids=range(27),
)
def test_what_must_not_be_followed_is_the_backends_fault(said: Any) -> None:
    with pytest.raises(BadAuthorizeAnswer):
        native(json.dumps(said).encode())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://SHELL.example.com", "http://shell.example.com:80"),
        ("ws://shell.example.com:8080/", "http://shell.example.com:8080"),
        ("ws://[::1]:99/", "http://[::1]:99"),
    ],
)
def test_a_host_is_allowed_with_any_port_or_with_one(url: str, address: str) -> None:
    place = native(json.dumps({"url": url}).encode()).place
    assert place == Place(address, b"/", "")
