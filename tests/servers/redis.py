"""A real Redis that can be ended and started again at the same port."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import ConnectionError as Disconnected

from tests.support.child import mortal
from tests.support.ports import free_port
from tests.support.waiting import eventually


class RedisServer:
    """It keeps nothing on disk: what starts again is empty."""

    def __init__(self, folder: str, *options: str) -> None:
        self.port = free_port()
        self.client = Redis(port=self.port, socket_timeout=20)
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--dir", folder, *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For the configuration."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(mortal(self._command), stdout=subprocess.DEVNULL)
        eventually(self._answers, "redis")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except Disconnected:
            return False

    def stop(self) -> None:
        """End it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def change(self, key: str, value: str, *, channel: str = "") -> None:
        """What GitLab does: set, then announce, in both layouts."""
        base = channel or "workhorse:notifications"
        self.client.set(key, value)
        self.client.publish(base, f"{key}={value}")
        self.client.publish(f"{base}:{key}", value)


@contextmanager
def redis_server(*options: str, is_started: bool = True) -> Iterator[RedisServer]:
    """One that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        server = RedisServer(folder, *options)
        try:
            if is_started:
                server.start()
            yield server
        finally:
            server.client.close()
            server.stop()
