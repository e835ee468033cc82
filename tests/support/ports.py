"""Ports for servers that cannot be told to choose one themselves."""

import contextlib
import itertools
import os
import random
import socket

_ALL = range(10_000, 32_000)  # below those that clients are given meanwhile


def _share() -> range:
    """Those of this process: another that tests beside it would take one before it is bound."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return _ALL[worker::workers]


def _in_turns(ports: range) -> "itertools.cycle[int]":
    """From a random one on, so that runs side by side seldom meet; none again for a long time."""
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_next = _in_turns(_share())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = next(_next)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
