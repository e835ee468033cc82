"""A real Redis that can be ended and started again at the same port."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as Disconnected

from tests.support.child import mortal
from tests.support.ports import free_port
from tests.support.waiting import eventually


class RedisServer:
    """It keeps nothing on disk: what starts again is empty."""

    def __init__(self, folder: str, *options: str, password: str = "", user: str = "") -> None:
        """`password`: of everybody, `user`: one line of its ACL."""
        self.port = free_port()
        self.client = Redis(port=self.port, password=password or None, socket_timeout=20)
        if password:
            options += ("--requirepass", password, "--masterauth", password)
        if user:
            options += ("--user", *user.split())
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
def redis_server(
    *options: str, is_started: bool = True, password: str = "", user: str = ""
) -> Iterator[RedisServer]:
    """One that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        server = RedisServer(folder, *options, password=password, user=user)
        try:
            if is_started:
                server.start()
            yield server
        finally:
            server.client.close()
            server.stop()


MASTER = "gitlab-redis"


@contextmanager
def sentinel(master: RedisServer, replicas: int, password: str) -> Iterator[Redis]:
    """One that watches `master` and knows of so many replicas; what speaks to it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        file = Path(folder, "sentinel.conf")
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {password}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass {MASTER} {password}\n"
            # It pings a second after it has met one, and takes unpinged for unanswered: twice that.
            f"sentinel down-after-milliseconds {MASTER} 2000\n"
            # Longer than a busy machine takes: a failover given up makes the old master one again.
            f"sentinel failover-timeout {MASTER} 20000\n"
        )
        command = mortal(["redis-server", str(file), "--sentinel"])
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = Redis(port=port, password=password, socket_timeout=20)

        def knows_all() -> bool:
            try:
                return len(client.execute_command("SENTINEL", "REPLICAS", MASTER)) == replicas
            except Disconnected:
                return False

        try:
            eventually(knows_all, "the sentinel knows all replicas", within=30)
            yield client
        finally:
            client.close()
            process.kill()
            process.wait()


def promoted(watching: Redis, replica: RedisServer) -> None:
    """Wait until `replica` is the master, in its own eyes and for good in the sentinel's."""
    eventually(lambda: replica.client.role()[0] == b"master", "promoted", within=30)
    eventually(
        lambda: watching.sentinel_master(MASTER)["port"] == replica.port,
        "the failover is over",
        within=30,
    )
