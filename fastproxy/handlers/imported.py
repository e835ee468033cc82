"""Objects that the configuration names as "module:name"."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from fastproxy.errors import OwnFault


class BadHandler(OwnFault):
    """What a route names cannot be used; the worker does not start."""

    kind = "bad-handler"


def import_callable(text: str) -> Callable[..., Any]:
    """The callable that `text` ("package.module:attribute.path") names.

    The current directory is searched, too, as gunicorn and uvicorn do it.
    Raises BadHandler, also for whatever the module raises when it runs.
    """
    if "" not in sys.path:
        sys.path.append("")
    try:
        found = _import(text)
    except Exception as error:  # the module's own code runs here and may raise anything
        message = f'"{text}" cannot be imported: {type(error).__name__}: {error}'
        raise BadHandler(message) from error
    if not callable(found):
        raise BadHandler(f'"{text}" cannot be called')
    called: Callable[..., Any] = found
    return called


def _import(text: str) -> Any:
    module_name, _, path = text.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    return found
