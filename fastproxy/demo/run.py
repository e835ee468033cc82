"""`fastproxy demo`: a real application, a real proxy, and a line to type."""

import errno
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

from fastproxy.demo import visitor
from fastproxy.demo.children import ChildEnded, Children
from fastproxy.demo.configuration import Home

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOG_TAIL: Final = 2000

_WELCOME: Final = """\
An application under gunicorn (2 workers) is running behind fastproxy (2 workers):

  http://127.0.0.1:{port}/

Open it in a browser to upload a file, or, from another terminal, upload 50 MB of unknown
length:

  head -c 50000000 /dev/urandom | curl -T - http://127.0.0.1:{port}/uploads/photo.bin

The application answers with what fastproxy told it: where the file is, its size and its SHA-256.
It never reads the 50 MB, only a few hundred bytes of signed JSON.

Four slow uploads at once do not occupy its two workers; a page still comes at once:

  for n in 1 2 3 4; do head -c 20000000 /dev/urandom | curl --limit-rate 2M -sT - \\
    http://127.0.0.1:{port}/uploads/slow$n.bin & done; curl http://127.0.0.1:{port}/

All files are in {home} (fastproxy.toml is the configuration).
The access log follows. Ctrl-C ends everything and removes the files.
"""


class DemoFailed(Exception):
    """The text says what to do about it."""


def run_demo(port: int | None = None, *, once: bool = False) -> int:
    """Run until Ctrl-C or SIGTERM; with `once` upload a file, show the answer, and end."""
    try:
        _require_gunicorn()
        with _interruptible(), tempfile.TemporaryDirectory(prefix="fastproxy-demo-") as path:
            _run(Home(Path(path), choose_port(port)), once)
    except KeyboardInterrupt:
        print("\nfastproxy demo: ended, nothing is left behind")
    except DemoFailed as error:
        print(f"fastproxy demo: {error}", file=sys.stderr)
        return 1
    return 0


def _run(home: Home, once: bool) -> None:
    home.furnish()
    children = Children(home.path)
    try:
        _start(children, home)
        if once:
            print(visitor.upload(home.port, "photo.bin", 50_000_000), end="", flush=True)
        else:
            print(_WELCOME.format(port=home.port, home=home.path), flush=True)
            children.wait()
    except (ChildEnded, OSError, HTTPException, ValueError) as error:
        raise DemoFailed(f"{error}\n{_tail(home.app_log)}{_tail(home.error_log)}") from None
    finally:
        children.end()


def _start(children: Children, home: Home) -> None:
    start_application(children, home)
    proxy = [sys.executable, "-m", "fastproxy", "serve", "--config", str(home.configuration)]
    children.start("fastproxy", proxy)
    visitor.await_page(home.port, children.check)


def start_application(children: Children, home: Home) -> None:
    """Start the application under gunicorn, on its socket in `home`."""
    settings = "--config=python:fastproxy.demo.gunicorn_settings"
    app = f"fastproxy.demo.monolith:make_app('{home.path}')"
    command = [sys.executable, "-m", "gunicorn", settings, f"--bind=unix:{home.app_socket}", app]
    children.start("gunicorn", command, home.app_log)


def _require_gunicorn() -> None:
    if find_spec("gunicorn") is None:
        raise DemoFailed("gunicorn is missing; install it with: pip install gunicorn")


def choose_port(wished: int | None) -> int:
    """A port nobody listens on. Raises DemoFailed."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", wished or 0))
        except OverflowError:
            raise DemoFailed(f"{wished} is not a port") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                text = f"port {wished} is taken; choose another, or leave --port out for a free one"
                raise DemoFailed(text) from None
            raise DemoFailed(f"port {wished}: {error.strerror}") from None
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first stopping signal into KeyboardInterrupt; later ones must not stop cleaning."""
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _STOPPING:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(log: Path) -> str:
    with suppress(FileNotFoundError):
        return log.read_text("utf-8", "replace")[-_LOG_TAIL:]
    return ""
