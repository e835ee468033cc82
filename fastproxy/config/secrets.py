"""Secrets come from files, never from the configuration, the environment or a flag.

A path may be "credential:NAME": a file that systemd's LoadCredential= put into
$CREDENTIALS_DIRECTORY.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastproxy.errors import OwnFault
from fastproxy.protocol import MIN_SECRET, decode_secret, without_newline

_MAX_FILE: Final = 64 * 1024
_CREDENTIAL: Final = "credential:"


class BadSecret(OwnFault):
    """A secret file is missing, unreadable or too short. `detail` never holds the secret."""

    kind = "bad-secret"


def secret_path(path: str, env: Mapping[str, str] | None = None) -> Path:
    """The file that `path` means. Raises BadSecret when systemd gave no such directory."""
    if not path.startswith(_CREDENTIAL):
        return Path(path)
    name = path.removeprefix(_CREDENTIAL)
    directory = (os.environ if env is None else env).get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        raise BadSecret(f'"{path}" needs $CREDENTIALS_DIRECTORY: set LoadCredential= in the unit')
    if name in ("", ".", "..") or "/" in name:
        raise BadSecret(f'"{path}" is not the name of a credential')
    return Path(directory, name)


def read_secret(path: str, env: Mapping[str, str] | None = None) -> bytes:
    """A shared secret: base64 of 32 bytes (Workhorse's way), else 32 raw bytes or more.

    One newline at the end is not part of it. Raises BadSecret.
    """
    content = decode_secret(_content(path, env))
    if len(content) < MIN_SECRET:
        raise BadSecret(
            f"{path}: a secret of {len(content)} bytes is too short; "
            f"at least {MIN_SECRET} are needed, e.g. from `openssl rand -base64 32`"
        )
    return content


def read_credential(path: str, env: Mapping[str, str] | None = None) -> str:
    """An access key or the like: text without its last newline. Raises BadSecret."""
    try:
        text = without_newline(_content(path, env)).decode("utf-8")
    except UnicodeDecodeError:
        raise BadSecret(f"{path}: is not text") from None
    if not text:
        raise BadSecret(f"{path}: is empty")
    return text


def is_world_readable(path: str, env: Mapping[str, str] | None = None) -> bool:
    """Whether every user of the machine can read the file. Raises BadSecret, OSError."""
    return bool(secret_path(path, env).stat().st_mode & stat.S_IROTH)


def _content(path: str, env: Mapping[str, str] | None) -> bytes:
    try:
        with secret_path(path, env).open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise BadSecret(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE:
        raise BadSecret(f"{path}: is too large for a secret")
    return content
