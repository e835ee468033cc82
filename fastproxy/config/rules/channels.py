"""Rules on channels."""

import re
from collections.abc import Iterator
from typing import Final

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.places import authorities
from fastproxy.config.rules.routes import HOST, PORT
from fastproxy.config.schema import ChannelRoute, Config

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+|null|\*")  # RFC 6454 section 6.2


def check_channels(config: Config, source: Source) -> Iterator[Problem]:
    """What they ask, and whom they let in and out."""
    for index, route in enumerate(config.route):
        if isinstance(route, ChannelRoute):
            yield from _channel(route, source, ("route", index))


def _channel(route: ChannelRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    suffix = route.authorize_suffix
    if not suffix.startswith("/") or set("?#% ") & set(suffix):
        yield source.problem((*key, "authorize_suffix"), "is not a plain path", 'e.g. "/authorize"')
    for at, host in enumerate(route.allowed_hosts):
        if not HOST.fullmatch(PORT.sub("", host)) or "*" in host:
            yield source.problem((*key, "allowed_hosts", at), f'"{host}" is not a host')
    for at, origin in enumerate(route.allowed_origins):
        if not _ORIGIN.fullmatch(origin) or origin != origin.lower():
            hint = 'e.g. "https://app.example.com", or "*"'
            yield source.problem((*key, "allowed_origins", at), f'"{origin}" is no origin', hint)
    if "*" in route.allowed_origins:
        message = "any page may open channels with the cookies of those who look at it"
        yield source.problem((*key, "allowed_origins"), message, severity=Severity.WARNING)
    yield from authorities(source, (*key, "ca_file"), route.ca_file)
