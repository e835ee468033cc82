"""Rules on backends and stores."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from fastproxy.config.address import check_backend_address
from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.places import (
    authorities,
    crc_library,
    credential,
    writable_directory,
)
from fastproxy.config.schema import (
    BackedRoute,
    Backend,
    Config,
    LocalStore,
    S3Store,
    UploadRoute,
)

_NO_TLS: Final = "there is no TLS: the address is not https"


def check_backends(config: Config, source: Source) -> Iterator[Problem]:
    """Addresses parse, authorities can be read, and somebody uses the backend."""
    used = {each.backend for each in config.route if isinstance(each, BackedRoute)}
    for name, backend in config.backend.items():
        key = ("backend", name)
        try:
            check_backend_address(backend.address)
        except ValueError as error:
            yield source.problem((*key, "address"), str(error))
        is_tls = backend.address.startswith("https://")
        yield from _tls(source, key, backend, is_tls=is_tls)
        if backend.tls_server_name and not is_tls:
            yield source.problem((*key, "tls_server_name"), _NO_TLS)
        if name not in used:
            yield source.problem(key, "no route uses it", severity=Severity.WARNING)


def check_stores(config: Config, source: Source) -> Iterator[Problem]:
    """Directories can be written; buckets are named and their keys can be read."""
    uploads = [route for route in config.route if isinstance(route, UploadRoute)]
    used = {name for route in uploads for name in (route.store, *route.stores)}
    sending = [backend.send for backend in config.backend.values() if backend.send]
    used |= {name for send in sending for name in send.stores}
    for name, store in config.store.items():
        key = ("store", name)
        if isinstance(store, LocalStore):
            yield from writable_directory(source, (*key, "path"), store.path)
        else:
            yield from _s3(store, source, key)
        if name not in used:
            yield source.problem(key, "no route uses it", severity=Severity.WARNING)


def _s3(store: S3Store, source: Source, key: KeyPath) -> Iterator[Problem]:
    if not store.bucket:
        yield source.problem((*key, "bucket"), "is empty")
    if store.endpoint and not _is_url(store.endpoint):
        hint = 'e.g. "https://s3.example.com"'
        yield source.problem((*key, "endpoint"), f'"{store.endpoint}" is not a URL', hint)
    yield from crc_library(source, (*key, "checksum"), (store.checksum,))
    if store.kms_key and store.encryption != "aws:kms":
        yield source.problem((*key, "kms_key"), 'needs encryption = "aws:kms"')
    if bool(store.access_key_file) != bool(store.secret_key_file):
        missing = "secret_key_file" if store.access_key_file else "access_key_file"
        yield source.problem((*key, missing), "is missing: the two key files go together")
    for word in ("access_key_file", "secret_key_file"):
        if path := getattr(store, word):
            yield from credential(source, (*key, word), path)
    yield from _tls(source, key, store, is_tls=not store.endpoint.startswith("http://"))


def _tls(
    source: Source, key: KeyPath, service: Backend | S3Store, *, is_tls: bool
) -> Iterator[Problem]:
    yield from authorities(source, (*key, "ca_file"), service.ca_file)
    if not service.tls_verify and not is_tls:
        yield source.problem((*key, "tls_verify"), _NO_TLS)
    elif not service.tls_verify:
        message = "ITS CERTIFICATE IS NOT VERIFIED: who stands between can read and change all"
        hint = "name its authority with ca_file instead"
        yield source.problem((*key, "tls_verify"), message, hint, Severity.WARNING)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
