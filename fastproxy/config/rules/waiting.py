"""Rules on what lets requests wait."""

from collections.abc import Iterator

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem, Severity
from fastproxy.config.rules.routes import TOKEN
from fastproxy.config.schema import Config, ProxyRoute, Queue

_HEADER = "header:"


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
