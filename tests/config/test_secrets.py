"""Secrets from files."""

import base64
from pathlib import Path

import pytest

from fastproxy.config.secrets import (
    BadSecret,
    is_world_readable,
    read_credential,
    read_secret,
    secret_path,
)

RAW = bytes(range(32))


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (base64.b64encode(RAW), RAW),
        (base64.b64encode(RAW) + b"\n", RAW),
        (base64.b64encode(RAW) + b"\r\n", RAW),
        (b"x" * 32, b"x" * 32),
        (b"x" * 32 + b"\n", b"x" * 32),
        (b"x" * 32 + b"\n\n", b"x" * 32 + b"\n"),
        (base64.b64encode(b"y" * 48), base64.b64encode(b"y" * 48)),
    ],
)
def test_a_secret_is_base64_of_32_bytes_or_raw(
    tmp_path: Path, content: bytes, secret: bytes
) -> None:
    (tmp_path / "s").write_bytes(content)
    assert read_secret(str(tmp_path / "s")) == secret


@pytest.mark.parametrize("content", [b"", b"hunter2\n", b"x" * 31, b"z" * 70_000])
def test_a_bad_secret_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(BadSecret) as caught:
        read_secret(str(tmp_path / "s"))
    assert "hunter2" not in str(caught.value)


def test_a_missing_secret_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="none: cannot be read: No such file"):
        read_secret(str(tmp_path / "none"))


def test_credentials_come_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("AKIA\n")
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_credential("credential:key", env) == "AKIA"
    with pytest.raises(BadSecret, match="LoadCredential="):
        read_credential("credential:key", {})


@pytest.mark.parametrize("name", ["", "..", "../key", "a/b"])
def test_a_credential_stays_in_its_directory(name: str) -> None:
    with pytest.raises(BadSecret, match="is not the name of a credential"):
        secret_path(f"credential:{name}", {"CREDENTIALS_DIRECTORY": "/run/x"})


def test_a_credential_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSecret, match="is empty"):
        read_credential(str(tmp_path / "empty"))
    with pytest.raises(BadSecret, match="is not text"):
        read_credential(str(tmp_path / "binary"))


def test_what_everybody_can_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(RAW)
    path.chmod(0o600)
    assert not is_world_readable(str(path))
    path.chmod(0o644)
    assert is_world_readable(str(path))
