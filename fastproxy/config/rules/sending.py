"""Rules on what backends may order to be sent."""

import re
from collections.abc import Iterator
from typing import Final

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, nearest
from fastproxy.config.rules.listeners import networks
from fastproxy.config.rules.places import readable_directory
from fastproxy.config.schema import Config, Send

_HOST: Final = re.compile(
    r"(?:(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch


def check_sending(config: Config, source: Source) -> Iterator[Problem]:
    """Directories can be read and are named by what does not change."""
    for name, backend in config.backend.items():
        if backend.send is not None:
            key = ("backend", name, "send")
            yield from _send(backend.send, source, key)
            yield from _others(config, backend.send, source, key)


def _send(send: Send, source: Source, key: KeyPath) -> Iterator[Problem]:
    for at, path in enumerate(send.files):
        place = (*key, "files", at)
        if not path.startswith("/"):
            hint = "X-Sendfile names files by absolute paths"
            yield source.problem(place, f'"{path}" is not an absolute path', hint)
        yield from readable_directory(source, place, path)
    for prefix, path in send.locations.items():
        place = (*key, "locations", prefix)
        if not prefix.startswith("/") or set(prefix) & set("?#%"):
            yield source.problem(place, f'"{prefix}" is not a plain path', 'e.g. "/protected/"')
        yield from readable_directory(source, place, path)


def _others(config: Config, send: Send, source: Source, key: KeyPath) -> Iterator[Problem]:
    for at, name in enumerate(send.stores):
        if name not in config.store:
            hint = nearest(name, list(config.store))
            yield source.problem((*key, "stores", at), f'store "{name}" does not exist', hint)
    for at, host in enumerate(send.hosts):
        if not _HOST(host):
            hint = 'write "example.com", "example.com:8080" or "*.example.com"'
            yield source.problem((*key, "hosts", at), f'"{host}" is not a host', hint)
    yield from networks(source, (*key, "networks"), send.networks)
    if send.networks and not send.hosts:
        yield source.problem((*key, "networks"), "there are no hosts to be there")
