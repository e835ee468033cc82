"""Callables that the configuration names as "module:name"."""

from collections.abc import Callable
from typing import Any

from fastproxy.config.importing import import_named
from fastproxy.errors import OwnFault


class BadHandler(OwnFault):
    """What a route names cannot be used; the worker does not start."""

    kind = "bad-handler"


def import_callable(text: str) -> Callable[..., Any]:
    """The callable that `text` names, see `import_named`.

    Raises BadHandler, also for whatever the module raises when it runs.
    """
    try:
        found = import_named(text)
    except Exception as error:  # the module's own code runs here and may raise anything
        message = f'"{text}" cannot be imported: {type(error).__name__}: {error}'
        raise BadHandler(message) from error
    if not callable(found):
        raise BadHandler(f'"{text}" cannot be called')
    called: Callable[..., Any] = found
    return called
