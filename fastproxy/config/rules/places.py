"""Whether files and directories are there and may be used."""

import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.secrets import BadSecret, is_world_readable, read_credential, read_secret


def writable_directory(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A directory we may create files in."""
    if not Path(path).is_dir():
        yield source.problem(key, f'directory "{path}" does not exist', "create it first")
    elif not os.access(path, os.W_OK | os.X_OK):
        yield source.problem(key, f'directory "{path}" is not writable for this user')


def readable_directory(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A directory we may read."""
    if not Path(path).is_dir():
        yield source.problem(key, f'directory "{path}" does not exist')
    elif not os.access(path, os.R_OK | os.X_OK):
        yield source.problem(key, f'directory "{path}" is not readable for this user')


def authorities(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A file with certificates of authorities, when one is named."""
    if not path:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield source.problem(key, f'"{path}" holds no certificate', "PEM is expected")
    except OSError as error:
        yield source.problem(key, f'"{path}" cannot be read: {error.strerror}')


def credential(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A file with one access key."""
    try:
        read_credential(path)
        yield from exposure(source, key, path)
    except (BadSecret, OSError) as error:
        yield source.problem(key, str(error))


def shared_secret(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A file with the secret shared with the backend."""
    try:
        read_secret(path)
        yield from exposure(source, key, path)
    except (BadSecret, OSError) as error:
        yield source.problem(key, str(error))


def spill_directory(path: str) -> str:
    """Where spilled parts go: the configured directory or the system's."""
    return path or tempfile.gettempdir()


def exposure(source: Source, key: KeyPath, path: str) -> Iterator[Problem]:
    """A warning about a secret that every user of this machine can read."""
    if is_world_readable(path):
        message = f'"{path}" can be read by every user of this machine'
        yield source.problem(key, message, f"chmod 600 {path}", Severity.WARNING)


def crc_library(source: Source, key: KeyPath, names: Iterable[str]) -> Iterator[Problem]:
    """What computes CRCs is installed, if one is asked for."""
    for name in names:
        if name.startswith("crc") and find_spec("awscrt") is None:
            hint = "pip install awscrt"
            yield source.problem(key, f'"{name}" needs the package awscrt', hint)
