"""The demo's application and proxy, started as the demo does, for tests to visit."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastproxy.demo import run, visitor
from fastproxy.demo.children import Children
from fastproxy.demo.configuration import Home


@contextmanager
def application(home: Home) -> Iterator[None]:
    """The application alone, on the demo's socket."""
    children = Children(home.path)
    try:
        run.start_application(children, home)
        yield
    finally:
        children.end()


@contextmanager
def proxy(home: Home) -> Iterator[None]:
    """fastproxy with the configuration of `home`, ready: a page came through it."""
    children = Children(home.path)
    try:
        command = [sys.executable, "-m", "fastproxy", "serve", "--config", str(home.configuration)]
        children.start("fastproxy", command, home.path / "stdout.log")
        visitor.await_page(home.port, children.check)
        yield
    finally:
        children.end()


@contextmanager
def town() -> Iterator[Home]:
    """Both, in a directory of their own with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fp-") as path:
        home = Home(Path(path), run.choose_port(None))
        home.furnish()
        with application(home), proxy(home):
            yield home
