"""Telling systemd how we are: sd_notify(3), one datagram each time."""

import contextlib
import os
import socket
import time


def notify(*assignments: str) -> None:
    """Send "READY=1" and the like; nothing happens when nobody asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux' abstract namespace
        address = "\0" + address[1:]
    # A service must not fail because its supervisor is not listening.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
    ):
        sock.sendto("\n".join(assignments).encode(), address)


def reloading() -> None:
    """A reload begins (Type=notify-reload wants the time, too)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping(seconds: float) -> None:
    """The end has begun and may take so long."""
    notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")
