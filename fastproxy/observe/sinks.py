"""Where bytes of a log go without ever making the event loop wait.

Each sink's `write` takes whole lines and returns how many bytes it took: fewer when the reader
at the other end is slow. OSError means that these bytes are lost.
"""

import os
import select
import socket
import stat
from typing import Protocol

LOG_MODE = 0o640


class Sink(Protocol):
    """A log's destination."""

    @property
    def burst(self) -> int:
        """How many bytes to offer at once."""
        ...

    def write(self, data: bytes) -> int: ...
    def close(self) -> None: ...


class FileSink:
    """A regular file in append mode: one write is whole even with other writers (POSIX)."""

    burst = 1 << 20

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


class PipeSink(FileSink):
    """A pipe or terminal. Writes up to PIPE_BUF are whole or refused (POSIX)."""

    burst = select.PIPE_BUF

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            return 0


class SocketSink:
    """A stream socket, as systemd gives to services for the journal."""

    burst = select.PIPE_BUF

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def write(self, data: bytes) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._socket.close()


def open_path(path: str) -> Sink:
    """A file (made when missing) or an existing FIFO. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, LOG_MODE)
    return FileSink(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else PipeSink(fd)


def open_fd(fd: int) -> Sink:
    """An open descriptor, which stays the caller's. Raises OSError."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return SocketSink(os.dup(fd))
    if stat.S_ISREG(mode):
        return FileSink(os.dup(fd))
    # O_NONBLOCK belongs to the open file description, which our parent process shares: opening
    # it anew gives us one of our own.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return PipeSink(os.open(f"/proc/self/fd/{fd}", flags))
