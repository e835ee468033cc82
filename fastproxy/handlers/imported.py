"""Objects that the configuration names as "module:name"."""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def import_callable(text: str) -> Callable[..., Any]:
    """The callable that `text` ("package.module:attribute.path") names.

    The current directory is searched, too, as gunicorn and uvicorn do it.
    Raises ImportError, AttributeError or TypeError, and whatever the module raises when it runs.
    """
    module_name, _, path = text.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f'"{text}" cannot be called')
    called: Callable[..., Any] = found
    return called
