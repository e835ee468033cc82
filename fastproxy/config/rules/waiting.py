"""Rules on what lets requests wait: queues, polls, and the Redis behind these."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.places import authorities, credential
from fastproxy.config.rules.routes import HOST, PORT, TOKEN, own_headers
from fastproxy.config.schema import Config, Poll, ProxyRoute, Queue, Sentinels

_MASTER = re.compile(r"rediss?://[A-Za-z0-9._-]+(?:/[0-9]*)?\Z").match
_HEADER = "header:"
_SOURCES = ("json", "header", "query")


def check_queues(config: Config, source: Source) -> Iterator[Problem]:
    """Their keys can be read, and what they ask of each other is possible."""
    for index, route in enumerate(config.route):
        if route.queue is None:
            continue
        key = ("route", index, "queue")
        yield from _queue(route.queue, source, key)
        if isinstance(route, ProxyRoute) and route.websocket:
            message = "a WebSocket keeps its place for as long as it is open"
            yield source.problem((*key, "at_once"), message, severity=Severity.WARNING)


def _queue(queue: Queue, source: Source, key: KeyPath) -> Iterator[Problem]:
    if queue.key != "address" and not (
        queue.key.startswith(_HEADER) and TOKEN.fullmatch(queue.key.removeprefix(_HEADER))
    ):
        message = f'"{queue.key}" is neither "address" nor "header:NAME"'
        yield source.problem((*key, "key"), message)
    if queue.length_per_key > queue.length:
        message = f"is more than the {queue.length} that may wait in all"
        yield source.problem((*key, "length_per_key"), message)


def check_polls(config: Config, source: Source) -> Iterator[Problem]:
    """There is a Redis, and requests that are held are neither buffered nor upgraded."""
    for index, route in enumerate(config.route):
        if not isinstance(route, ProxyRoute) or route.poll is None:
            continue
        key = ("route", index)
        if not config.redis.url:
            yield source.problem(
                (*key, "poll"), "needs Redis, where changes are announced", "set url in [redis]"
            )
        for word in ("websocket", "buffer", "max_body"):
            if getattr(route, word) != getattr(ProxyRoute(), word):
                message = "has no meaning for a route with polls"
                yield source.problem((*key, word), message)
        yield from _poll(route.poll, source, (*key, "poll"))


def _poll(poll: Poll, source: Source, key: KeyPath) -> Iterator[Problem]:
    for word in ("key", "last"):
        kind, _, name = getattr(poll, word).partition(":")
        if kind not in _SOURCES or not name or (kind == "header" and not TOKEN.fullmatch(name)):
            message = f'"{getattr(poll, word)}" names no part of a request'
            hint = 'write "json:FIELD", "header:NAME" or "query:NAME"'
            yield source.problem((*key, word), message, hint)
    yield from own_headers(poll.headers, source, (*key, "headers"))


def _sentinels(sentinels: Sentinels, url: str, source: Source, key: KeyPath) -> Iterator[Problem]:
    if not _MASTER(url):
        message = "with sentinels its host is the name of a master"
        yield source.problem((*key, "url"), message, 'e.g. "redis://mymaster/0"')
    if not sentinels.addresses:
        yield source.problem((*key, "sentinel", "addresses"), "names no sentinel")
    for at, address in enumerate(sentinels.addresses):
        if not HOST.fullmatch(PORT.sub("", address)) or "*" in address:
            message = f'"{address}" is not the address of a sentinel'
            hint = 'e.g. "10.0.0.1:26379"'
            yield source.problem((*key, "sentinel", "addresses", at), message, hint)
    if sentinels.password_file:
        yield from credential(source, (*key, "sentinel", "password_file"), sentinels.password_file)


def check_redis(config: Config, source: Source) -> Iterator[Problem]:
    """Its address parses, its secrets are files, and what speaks to it is installed."""
    redis, key = config.redis, ("redis",)
    if not redis.url:
        return
    parts = urlsplit(redis.url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        hint = 'e.g. "redis://127.0.0.1:6379/0", "rediss://...", "unix:///run/redis.sock"'
        yield source.problem((*key, "url"), f'"{redis.url}" is not the address of a Redis', hint)
    elif parts.password or "password" in parts.query:
        yield source.problem((*key, "url"), "holds a password", "put it into password_file")
    if redis.password_file:
        yield from credential(source, (*key, "password_file"), redis.password_file)
    if redis.sentinel is not None:
        yield from _sentinels(redis.sentinel, redis.url, source, key)
    yield from authorities(source, (*key, "ca_file"), redis.ca_file)
    is_tls = parts.scheme == "rediss" or (redis.sentinel is not None and redis.sentinel.tls)
    if redis.ca_file and not is_tls:
        yield source.problem((*key, "ca_file"), "there is no TLS: the address is not rediss")
    if find_spec("redis") is None:
        hint = "pip install redis"
        yield source.problem(key, "needs the package redis", hint)
    if not any(isinstance(route, ProxyRoute) and route.poll for route in config.route):
        yield source.problem(key, "no route polls", severity=Severity.WARNING)
