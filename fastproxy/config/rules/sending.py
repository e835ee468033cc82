"""Rules on what is sent in a backend's place: what it orders, and pages."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, nearest
from fastproxy.config.rules.listeners import networks
from fastproxy.config.rules.places import readable_directory
from fastproxy.config.schema import Config, ProxyRoute, Send

_MAX_WIDTH: Final = 10_000
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


def check_pages(config: Config, source: Source) -> Iterator[Problem]:
    """Pages in place of errors can be read; what answers during a deploy has a status."""
    for index, route in enumerate(config.route):
        key: KeyPath = ("route", index)
        if not 200 <= route.deploy_status <= 599 or route.deploy_status in (204, 304):
            yield source.problem((*key, "deploy_status"), "is no status of an answer with a page")
        if route.deploy_page and not Path(route.deploy_page).parent.is_dir():
            message = f'"{route.deploy_page}" is in no directory that exists'
            yield source.problem((*key, "deploy_page"), message)
        if isinstance(route, ProxyRoute):
            yield from _pages(route, source, key)


def _pages(route: ProxyRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    if not 400 <= route.errors_from <= 599:
        yield source.problem((*key, "errors_from"), "is no status of an error")
    if route.errors == "html":
        yield from readable_directory(source, (*key, "error_pages"), route.error_pages)
    elif route.error_pages:
        yield source.problem((*key, "error_pages"), 'is for errors = "html"')


def _others(config: Config, send: Send, source: Source, key: KeyPath) -> Iterator[Problem]:
    for at, name in enumerate(send.stores):
        if name not in config.store:
            hint = nearest(name, list(config.store))
            yield source.problem((*key, "stores", at), f'store "{name}" does not exist', hint)
    for at, host in enumerate(send.hosts):
        if not _HOST(host):
            hint = 'write "example.com", "example.com:8080" or "*.example.com"'
            yield source.problem((*key, "hosts", at), f'"{host}" is not a host', hint)
    for at, width in enumerate(send.image_widths):
        if not 1 <= width <= _MAX_WIDTH:
            message = f"{width} is not a width from 1 to {_MAX_WIDTH}"
            yield source.problem((*key, "image_widths", at), message)
    if send.image_widths and find_spec("PIL") is None:
        hint = "pip install pillow"
        yield source.problem((*key, "image_widths"), "Pillow is not installed", hint)
    yield from networks(source, (*key, "networks"), send.networks)
    if send.networks and not send.hosts:
        yield source.problem((*key, "networks"), "there are no hosts to be there")
