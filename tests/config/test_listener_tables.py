"""What is said of listeners: networks, certificates and their keys, authorities."""

import subprocess
from pathlib import Path

import pytest

from fastproxy.config.check import load_judged
from fastproxy.config.problems import ConfigProblems, Severity
from fastproxy.config.schema import KiB
from fastproxy.config.worst_case import worst_case
from tests.config.test_check import Room
from tests.support.tls import Authority

LISTENER = '[[listener]]\naddress = "127.0.0.1:8080"\n'
CERTIFICATE = "[[listener.certificate]]\ncert_file = "


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Beside good files: foreign.pem is the key of another certificate, locked.pem needs a word."""
    room = Room(tmp_path)
    authority = Authority(tmp_path)
    authority.issue("good.example", file="good")
    authority.issue("old.example", file="old", expired=True)
    other = authority.issue("other.example", file="other").read_text()
    good = (tmp_path / "good.pem").read_text()
    begin = "-----BEGIN CERTIFICATE"
    room.secret("bare.crt", good[good.index(begin) :])
    room.secret("foreign.key", other[: other.index(begin)])
    room.secret("empty.pem", "")
    seal = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-passout",
        "pass:word",
        "-in",
        str(tmp_path / "good.pem"),
    ]
    subprocess.run([*seal, "-in", "good.pem", "-out", "locked.key"], cwd=tmp_path, check=True)
    return room


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ('[[listener]]\naddress = ":8443"\n', "listener[0].address", "one of: 127.0.0.1:8080"),
        (LISTENER + LISTENER, "listener[1].address", "has two tables"),
        ("[[listener]]\n", "listener[0].address", "is missing"),
        (LISTENER + "proxy_protocol_from = ['lb']", "listener[0].proxy_protocol_from[0]", "CIDR"),
        (
            LISTENER + "proxy_protocol_from = ['10.0.0.1/8']",
            "listener[0].proxy_protocol_from[0]",
            "host bits",
        ),
        (LISTENER + "client_ca_file = 'HERE/ca.pem'", "listener[0].client_ca_file", "no TLS"),
        (
            LISTENER + "client_ca_file = 'HERE/empty.pem'\n" + CERTIFICATE + "'HERE/good.pem'",
            "listener[0].client_ca_file",
            "holds no certificate",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/nowhere'",
            "listener[0].certificate[0].cert_file",
            "does not exist",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/bare.crt'\nkey_file = 'HERE/nowhere'",
            "listener[0].certificate[0].key_file",
            "does not exist",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/empty.pem'",
            "listener[0].certificate[0].cert_file",
            "no certificate and its key",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/bare.crt'",
            "listener[0].certificate[0].cert_file",
            "no certificate and its key",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/bare.crt'\nkey_file = 'HERE/foreign.key'",
            "listener[0].certificate[0].cert_file",
            "key values mismatch",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/bare.crt'\nkey_file = 'HERE/locked.key'",
            "listener[0].certificate[0].cert_file",
            "encrypted",
        ),
        (
            LISTENER + "[[listener.certificate]]\nkey_file = 'k'",
            "listener[0].certificate[0].cert_file",
            "is missing",
        ),
        (
            LISTENER + CERTIFICATE + "'HERE/good.pem'\ncrt = 'x'",
            "listener[0].certificate[0].crt",
            "unknown key",
        ),
    ],
)
def test_each_error_is_found_at_its_key(room: Room, more: str, key: str, said: str) -> None:
    _, found = room.judge(room.good() + more)
    errors = [each for each in found if each.severity is Severity.ERROR]
    assert [str(each).split(": ")[1] for each in errors] == [key]
    assert said in str(errors[0]).replace("address/prefix", "CIDR").replace("IPv4 or IPv6", "CIDR")
    assert errors[0].line is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (LISTENER + "proxy_protocol_from = ['::/0']", "lets every client choose"),
        (LISTENER + CERTIFICATE + "'HERE/old.pem'", "has expired"),
    ],
)
def test_doubtful_things_are_warnings(room: Room, more: str, said: str) -> None:
    config, found = room.judge(room.good() + more)
    assert config is not None
    assert [each.severity for each in found] == [Severity.WARNING]
    assert said in str(found[0])


def test_a_key_that_everybody_may_read_is_a_warning(room: Room) -> None:
    (room.path / "good.pem").chmod(0o644)
    config, found = room.judge(room.good() + LISTENER + CERTIFICATE + "'HERE/good.pem'")
    assert config is not None
    assert [each.severity for each in found] == [Severity.WARNING]
    assert "can be read by every user" in str(found[0])


def test_good_tables_say_nothing(room: Room) -> None:
    table = LISTENER + "proxy_protocol_from = ['10.0.0.0/8']\nclient_ca_file = 'HERE/ca.pem'\n"
    config, found = room.judge(room.good() + table + CERTIFICATE + "'HERE/good.pem'")
    assert found == []
    assert config is not None
    assert config.listener[0].certificate[0].key_file == ""


def test_a_variable_cannot_name_a_listener(room: Room) -> None:
    room.file.write_text(room.good())
    with pytest.raises(ConfigProblems, match="listeners are set in the file only"):
        load_judged(room.file, {"FASTPROXY_LISTENER__ADDRESS": ":8080"})


def test_the_reckoning_of_memory_knows_of_tls(room: Room) -> None:
    plain, _ = room.judge(room.good() + LISTENER)
    secure, _ = room.judge(room.good() + LISTENER + CERTIFICATE + "'HERE/good.pem'")
    assert plain is not None
    assert secure is not None
    before, after = worst_case(plain), worst_case(secure)
    assert after.idle_connection - before.idle_connection == 64 * KiB
    assert after.busy_connection - before.busy_connection == 128 * KiB
