"""Ports for servers that cannot be told to choose one themselves."""

import contextlib
import random
import socket


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.randrange(10_000, 32_000)  # below those that clients are given meanwhile
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
