"""A unix socket that passes every connection on and remembers what clients said."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Relay:
    """`requests`: the bytes of each connection, in the order in which they began."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        self._listener = listener
        self._target = target
        self.requests: list[bytearray] = []
        self.answers: list[bytearray] = []

    def serve(self) -> None:
        """Until the listener is shut down."""
        threads = []
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._carry, args=(client,), daemon=True))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _carry(self, client: socket.socket) -> None:
        request, answer = bytearray(), bytearray()
        self.requests.append(request)
        self.answers.append(answer)
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._target))
            back = threading.Thread(target=_copy, args=(server, client, answer), daemon=True)
            back.start()
            _copy(client, server, request)
            back.join()


def _copy(source: socket.socket, sink: socket.socket, seen: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            seen += data
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(listen: Path, target: Path) -> Iterator[Relay]:
    """A running relay from `listen` to `target`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(listen))
        listener.listen()
        running = Relay(listener, target)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
