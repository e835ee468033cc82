"""Rules on routes: what they name exists, and each can be reached."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastproxy.config.importing import import_named
from fastproxy.config.load import Source
from fastproxy.config.methods import effective_methods
from fastproxy.config.pattern import PathPattern
from fastproxy.config.problems import KeyPath, Problem, Severity, nearest
from fastproxy.config.rules.places import crc_library, readable_directory, shared_secret
from fastproxy.config.rules.ranges import S3_MAX_PART
from fastproxy.config.schema import (
    AnyRoute,
    AsgiRoute,
    BackedRoute,
    ChannelRoute,
    Config,
    FixedRoute,
    FormRoute,
    GitRoute,
    PythonRoute,
    S3Store,
    StaticRoute,
    UploadRoute,
)
from fastproxy.config.units import format_size
from fastproxy.config.worst_case import S3_MIN_PART

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
PORT = re.compile(r":[0-9]{1,5}\Z")
_OBJECT = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PARAMETER = re.compile(r":\w+|\{.*\}|<.*>")  # as frameworks write any one segment
_UNSENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DEFAULT_STORE = UploadRoute().store  # need not be there when the backend signs all URLs
_OWN_HEADERS = frozenset(("content-length", "transfer-encoding", "connection"))


def check_routes(config: Config, source: Source) -> Iterator[Problem]:
    """Every route by itself."""
    if not config.route:
        message = "no routes: every request is answered with 404"
        yield source.problem(("route",), message, severity=Severity.WARNING)
    for index, route in enumerate(config.route):
        key = ("route", index)
        yield from _matching(route, source, key)
        if isinstance(route, BackedRoute) and route.backend not in config.backend:
            yield _unnamed(source, (*key, "backend"), route.backend, list(config.backend))
        if isinstance(route, UploadRoute):
            yield from _upload(config, route, source, key)
        elif isinstance(route, GitRoute):
            yield from _suffix(route.authorize_suffix or "/", source, key)
        elif isinstance(route, StaticRoute):
            yield from _static(route, source, key)
        elif isinstance(route, FixedRoute):
            yield from _fixed(route, source, key)
        elif isinstance(route, PythonRoute):
            yield from _object(route.handler, source, (*key, "handler"))
        elif isinstance(route, AsgiRoute):
            yield from _object(route.application, source, (*key, "application"))


def check_order(config: Config, source: Source) -> Iterator[Problem]:
    """Routes that an earlier one hides, and names used twice."""
    earlier: list[tuple[int, AnyRoute, PathPattern]] = []
    names: set[str] = set()
    for index, route in enumerate(config.route):
        try:
            pattern = PathPattern(route.path)
        except ValueError:
            continue  # reported by check_routes
        for at, other, wide in earlier:
            if wide.covers(pattern) and _covers_rest(other, route):
                message = f'is never reached: route[{at}] "{other.path}" takes all its requests'
                yield source.problem(("route", index), message, "put the narrower route first")
                break
        earlier.append((index, route, pattern))
        if route.name in names:
            message = f'"{route.name}" names two routes: logs and metrics will mix them'
            yield source.problem(("route", index, "name"), message, severity=Severity.WARNING)
        names.update(filter(None, [route.name]))


def check_secret(config: Config, source: Source) -> Iterator[Problem]:
    """Uploads need the secret shared with the backend."""
    key = ("auth", "secret_file")
    if config.auth.secret_file:
        yield from shared_secret(source, key, config.auth.secret_file)
    elif any(isinstance(route, UploadRoute | GitRoute | ChannelRoute) for route in config.route):
        message = "is required: upload, git and channel routes sign what they tell the backend"
        yield source.problem(key, message, "`openssl rand -base64 32 > FILE` makes one")


def check_imports(config: Config, source: Source) -> Iterator[Problem]:
    """Handlers and applications can be imported. Runs their modules: only `check` does this."""
    for index, route in enumerate(config.route):
        if isinstance(route, PythonRoute) and _OBJECT.fullmatch(route.handler):
            yield from _imported(route.handler, source, ("route", index, "handler"))
        elif isinstance(route, AsgiRoute) and _OBJECT.fullmatch(route.application):
            yield from _imported(route.application, source, ("route", index, "application"))


def _matching(route: AnyRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    try:
        PathPattern(route.path)
    except ValueError as error:
        yield source.problem((*key, "path"), str(error))
    for segment in filter(_PARAMETER.fullmatch, route.path.split("/")):
        message = f'"{segment}" is no placeholder: it matches itself alone'
        hint = "write * for any one segment"
        yield source.problem((*key, "path"), message, hint, Severity.WARNING)
    if route.host and not HOST.fullmatch(route.host):
        hint = 'write "example.com" or "*.example.com", without a port'
        yield source.problem((*key, "host"), f'"{route.host}" is not a host', hint)
    for at, method in enumerate(route.methods):
        if not TOKEN.fullmatch(method):
            yield source.problem((*key, "methods", at), f'"{method}" is not a method')
        elif method != method.upper():
            hint = f'did you mean "{method.upper()}"?'
            yield source.problem((*key, "methods", at), "methods are upper case", hint)


def _zip_metadata(
    config: Config, route: FormRoute, source: Source, key: KeyPath
) -> Iterator[Problem]:
    name = route.zip_metadata_store or route.store
    store, backend = config.store.get(name), config.backend.get(route.backend)
    at = (*key, "zip_metadata_store" if route.zip_metadata_store else "zip_metadata")
    if store is None:
        yield _unnamed(source, at, name, list(config.store))
    elif backend is not None and backend.dialect == "gitlab" and isinstance(store, S3Store):
        message = f'"{name}" is a bucket, and GitLab takes the metadata of artifacts as a file only'
        yield source.problem(at, message, "name a local store whose directory it knows")


def _upload(config: Config, route: UploadRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    store = config.store.get(route.store)
    if store is None and not (route.allowed_hosts and route.store == _DEFAULT_STORE):
        yield _unnamed(source, (*key, "store"), route.store, list(config.store))
    for at, name in enumerate(route.stores):
        if name not in config.store:
            yield _unnamed(source, (*key, "stores", at), name, list(config.store))
    if isinstance(route, FormRoute) and route.zip_metadata:
        yield from _zip_metadata(config, route, source, key)
    if route.refuse_images and not route.scrub_images:
        message = "images are looked at with scrub_images only"
        yield source.problem((*key, "refuse_images"), message, "add `scrub_images = true`")
    yield from crc_library(source, (*key, "hashes"), route.hashes)
    yield from _suffix(route.authorize_suffix, source, key)
    yield from _fixed_path(config, route, source, (*key, "authorize_path"))
    part_size = route.part_size or S3_MIN_PART
    if isinstance(store, S3Store) and not S3_MIN_PART <= part_size <= S3_MAX_PART:
        allowed = f"{format_size(S3_MIN_PART)} and {format_size(S3_MAX_PART)}"
        message = f'store "{route.store}" takes parts between {allowed}'
        yield source.problem((*key, "part_size"), message)
    for at, host in enumerate(route.allowed_hosts):
        if not HOST.fullmatch(PORT.sub("", host)):
            yield source.problem((*key, "allowed_hosts", at), f'"{host}" is not a host')
    if isinstance(store, S3Store) and not config.server.state_dir:
        message = "without server.state_dir a crash leaves unfinished multipart uploads behind"
        yield source.problem((*key, "store"), message, severity=Severity.WARNING)


def _fixed_path(
    config: Config, route: UploadRoute, source: Source, key: KeyPath
) -> Iterator[Problem]:
    path, backend = route.authorize_path, config.backend.get(route.backend)
    if not path:
        return
    if not path.startswith("/") or set("?#% ") & set(path) or not path.isascii():
        yield source.problem(key, "is not a plain path", 'e.g. "/internal/authorize"')
    if backend is not None and backend.dialect == "native":
        yield source.problem(key, 'is for dialect = "gitlab": native tokens are of one path')


def _suffix(suffix: str, source: Source, key: KeyPath) -> Iterator[Problem]:
    if not suffix.startswith("/") or set("?#% ") & set(suffix):
        hint = 'e.g. "/authorize"'
        yield source.problem((*key, "authorize_suffix"), "is not a plain path", hint)


def _static(route: StaticRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    yield from readable_directory(source, (*key, "root"), route.root)
    if "/" in route.index:
        yield source.problem((*key, "index"), "is the name of a file, not a path")
    if route.strip_prefix and not f"{route.path}/".startswith(f"{route.strip_prefix.rstrip('/')}/"):
        message = f'"{route.path}" does not begin with "{route.strip_prefix}"'
        yield source.problem((*key, "strip_prefix"), message)


def _fixed(route: FixedRoute, source: Source, key: KeyPath) -> Iterator[Problem]:
    if route.body and route.status in (204, 205, 304):
        yield source.problem((*key, "body"), f"a {route.status} has no body (RFC 9110)")
    yield from own_headers(route.headers, source, (*key, "headers"))


def own_headers(headers: Mapping[str, str], source: Source, key: KeyPath) -> Iterator[Problem]:
    """Fields that an answer of ours may have."""
    for name, value in headers.items():
        if not TOKEN.fullmatch(name) or _UNSENT.search(value) or not value.isascii():
            yield source.problem((*key, name), "is not a valid header")
        elif name.lower() in _OWN_HEADERS:
            yield source.problem((*key, name), "is set by fastproxy itself")


def _object(text: str, source: Source, key: KeyPath) -> Iterator[Problem]:
    if not _OBJECT.fullmatch(text):
        yield source.problem(key, f'"{text}" is not "module:name"', 'e.g. "shop.web:app"')


def _imported(text: str, source: Source, key: KeyPath) -> Iterator[Problem]:
    try:
        found = import_named(text)
    except Exception as error:  # the module's own code runs here and may raise anything
        yield source.problem(key, f'"{text}" cannot be imported: {type(error).__name__}: {error}')
        return
    if not callable(found):
        yield source.problem(key, f'"{text}" cannot be called')
    elif key[-1] == "handler" and not inspect.iscoroutinefunction(_called(found)):
        yield source.problem(key, f'"{text}" is not an async function', "write `async def`")


def _called(found: Any) -> Any:
    return found if inspect.isroutine(found) else type(found).__call__


def _unnamed(source: Source, key: KeyPath, name: str, known: Sequence[str]) -> Problem:
    kind = key[-1]
    hint = nearest(name, known) if known else f"there is no [{kind}.{name}]"
    return source.problem(key, f'{kind} "{name}" does not exist', hint)


def _covers_rest(wide: AnyRoute, narrow: AnyRoute) -> bool:
    """Whether `wide` also takes every method and host of `narrow`."""
    methods, needed = effective_methods(wide), effective_methods(narrow)
    if methods and not (needed and set(needed) <= set(methods)):
        return False
    host, other = wide.host.lower(), narrow.host.lower()
    is_within = host.startswith("*.") and other.removeprefix("*").endswith(host[1:])
    return not host or host == other or is_within
