"""Signals of the master as events of its loop, and their way across a fork."""

import contextlib
import select
import signal
import socket
from collections.abc import Callable, Iterator
from signal import Signals

HANDLED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGCHLD),
)
# Meant for the master: one sent to the whole process group must not kill a worker.
_IGNORED_IN_CHILD = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class SignalInbox:
    """Collects signals from creation on; the number of each is lost, as with signals always."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, _only_wake)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def wait(self, timeout: float, other: int) -> set[Signals]:
        """Wait up to `timeout` seconds for signals, or until `other` is readable."""
        self._poll.register(other, select.POLLIN)
        self._poll.poll(timeout * 1000)
        try:
            return {Signals(number) for number in self._reader.recv(4096)}
        except BlockingIOError:
            return set()

    def close_in_child(self) -> None:
        """Forget the master's signals."""
        self._reader.close()
        self._writer.close()


def _only_wake(_number: int, _frame: object) -> None:
    """The byte in the wakeup socket tells it all."""


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Hold signals back around a fork; gives what the child must call.

    Otherwise a signal for the newborn child would arrive through the master's wakeup socket.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield _reset_in_child
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _reset_in_child() -> None:
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED_IN_CHILD:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
