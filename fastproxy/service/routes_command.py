"""`fastproxy routes test`: which route takes a request, why the others do not, what happens."""

import os
from collections.abc import Iterator, Sequence
from typing import Self

from msgspec import Struct

from fastproxy.config.load import Source, read
from fastproxy.config.problems import ConfigProblems, Problem, Severity
from fastproxy.config.rules.routes import check_routes
from fastproxy.config.schema import (
    AsgiRoute,
    ChannelRoute,
    Config,
    GitRoute,
    Poll,
    ProxyRoute,
    PythonRoute,
    UploadRoute,
)
from fastproxy.config.units import format_size
from fastproxy.errors import BadHead
from fastproxy.routes import NormalisedTarget, RouteTable, TableRoute, bare_host, normalise_path
from fastproxy.service.route_effect import describe_effect


class Asked(Struct, frozen=True):
    """The request to ask about. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @classmethod
    def parse(cls, method: str, target: str, fields: Sequence[str]) -> Self:
        """`fields`: "Name: value", the last of a name counts."""
        pairs = (field.partition(":") for field in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return cls(method, target, headers)

    @property
    def host(self) -> bytes:
        """The Host header."""
        return self.headers.get("host", "").encode()


def run(path: str, asked: Asked) -> int:
    """0 when a route takes the request, 1 when it is refused.

    78 without a configuration, or when something is wrong with the route: see `fastproxy check`.
    """
    try:
        config, source, problems = read(path)
        if problems:
            raise ConfigProblems(problems)
        table = RouteTable(config.route, config.server.keep_encoded_slash)
    except ConfigProblems as error:
        print(error)
        return os.EX_CONFIG
    except ValueError as error:
        print(f"{path}: {error}")
        return os.EX_CONFIG
    raw_target = asked.target.encode("utf-8", "surrogateescape")
    method = asked.method.encode()
    try:
        target = normalise_path(raw_target, config.server.keep_encoded_slash)
        for line in _tried(table, method, target, asked.host):
            print(line)
        _, route, allowed = table.resolve(method, raw_target, asked.host)
    except BadHead as error:
        print(f"=> 400: {error}")
        return 1
    if route is None:
        methods = b", ".join(allowed).decode()
        print(f"=> 405, Allow: {methods}" if allowed else "=> 404: no route")
        return 1
    raw_path = target.raw_path.decode("utf-8", "backslashreplace")
    print(f"=> {describe_effect(config, route.config, asked.method, raw_path)}")
    notes = list(_notes(config, route, asked))
    for note in notes:
        print(f"   {note}")
    if errors := list(_errors(config, source, route)):
        print(*errors, sep="\n")
        return os.EX_CONFIG
    return 1 if any(note.startswith("4") for note in notes) else 0


def _tried(
    table: RouteTable, method: bytes, target: NormalisedTarget, host: bytes
) -> Iterator[str]:
    yield f"decoded path: {_printable(target.path)}"
    for reading in target.readings:
        if len(target.readings) > 1:
            yield f"as a server might read it: {_printable(reading)}"
        for row in table.rows:
            verdict = _verdict(row, method, reading, host)
            yield f'  route[{row.index}] "{row.name}" {row.pattern.text}: {verdict}'
            if verdict == "matches":
                break


def _verdict(row: TableRoute, method: bytes, path: str, host: bytes) -> str:
    if not row.pattern.matches(path):
        return "another path"
    if not row.takes_host(bare_host(host)):
        return f'another host (takes "{row.config.host}")'
    if not row.takes_method(method):
        return f"another method (takes {b', '.join(row.methods).decode()})"
    return "matches"


def _notes(config: Config, row: TableRoute, asked: Asked) -> Iterator[str]:
    route = row.config
    if asked.headers.get("upgrade", "").lower() == "websocket":
        is_proxied = isinstance(route, ProxyRoute) and route.websocket
        is_open = is_proxied or isinstance(route, ChannelRoute)
        yield "websocket: passed on" if is_open else "websocket: this route does not pass it on"
    limit = _body_limit(config, row)
    length = asked.headers.get("content-length", "")
    if limit is not None and length.isdecimal() and int(length) > limit:
        yield f"413: the body is larger than {format_size(limit)}"


def _errors(config: Config, source: Source, row: TableRoute) -> Iterator[Problem]:
    """What keeps the proxy from starting with this route; others may be wrong, too."""
    for problem in check_routes(config, source):
        if problem.severity is Severity.ERROR and problem.key[:2] == ("route", row.index):
            yield problem


def _body_limit(config: Config, row: TableRoute) -> int | None:
    match row.config:
        case UploadRoute(max_size=limit) | GitRoute(max_push=limit):
            return limit
        case ProxyRoute(poll=Poll(max_body=limit)):
            return limit
        case ProxyRoute(max_body=limit) | AsgiRoute(max_body=limit):
            return config.limits.body if limit is None else limit
        case PythonRoute(max_body=limit):
            return limit
    return None


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
