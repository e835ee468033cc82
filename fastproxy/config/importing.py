"""Objects that the configuration names as "module:name"."""

import importlib
import sys
from typing import Any


def import_named(text: str) -> Any:
    """The object that `text` ("package.module:attribute.path") names.

    The current directory is searched, too, as gunicorn and uvicorn do it.
    Raises whatever the module raises when it runs.
    """
    if "" not in sys.path:
        sys.path.append("")
    module_name, _, path = text.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    return found
