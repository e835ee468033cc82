"""Runners that wait for a change which Redis announces: each has a key and a channel of its own."""

import json
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.accounting import cpu_seconds
from benchmarks.connections import TIMEOUT_S, connected
from benchmarks.memory import when_still
from benchmarks.peers import ours
from benchmarks.processes import LOAD_CORE, free_port, running
from benchmarks.question import OURS, Contestant, Need, Peer, Question, Site, Target, find_program

WAITERS = 5000
PORT_FILE = "redis-port"
FEATURES = {f"feature_number_{number}": True for number in range(28)}
HEAD = (
    "POST /api/v4/jobs/request HTTP/1.1\r\nHost: gitlab.example.com\r\n"
    "User-Agent: gitlab-runner 17.5.3 (17-5-stable; go1.22.7; linux/amd64)\r\n"
    "Accept: application/json\r\nContent-Type: application/json\r\n"
)


@contextmanager
def _with_redis(site: Site) -> Iterator[Peer]:
    port, log = free_port(), site.directory / "redis.log"
    program = find_program("redis-server") or "redis-server"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running([*command, "--dir", str(site.directory)], LOAD_CORE, log):
        _wait_for_redis(port)
        (site.directory / PORT_FILE).write_text(str(port))
        with ours("polls.toml", REDIS=str(port)).start(site) as peer:
            yield peer


POLLS = Contestant(
    OURS, _with_redis, (Need("redis-server", debian="redis-server"), Need("redis", pypi="redis"))
)


def _wait_for_redis(port: int) -> None:
    from redis import Redis  # it may not be installed
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    with Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200)) as redis:
        redis.ping()


def key_of(number: int) -> str:
    """What this runner waits for."""
    return f"glrt-{number:020}"


def as_runner(number: int, value: int) -> bytes:
    """What a runner of GitLab sends, some 1,300 bytes. `value`: its key's."""
    said = {"info": {"name": "gitlab-runner", "features": FEATURES}, "last_update": f"{value}"}
    body = json.dumps({**said, "token": key_of(number)})
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Crowd:
    """So many who wait, for whom nothing has changed since the crowd before: what was announced
    to that is not forgotten at once."""

    def __init__(self, peer: Peer, count: int, stack: ExitStack) -> None:
        from redis import Redis

        port = int((peer.directory / PORT_FILE).read_text())
        self._redis = stack.enter_context(Redis(port=port))
        self._count = count
        self._value = int(self._redis.get(key_of(0)) or 1)
        self._redis.mset({key_of(number): self._value for number in range(count)})
        self.clients = [stack.enter_context(connected(peer)) for _ in range(count)]

    def wait(self) -> None:
        """All ask, and are held. Raises RuntimeError when they are not in time."""
        for number, client in enumerate(self.clients):
            client.sendall(as_runner(number, self._value))
        until = time.monotonic() + TIMEOUT_S
        channels = [f"changes:{key_of(number)}" for number in range(self._count)]
        while sum(count for _, count in self._redis.pubsub_numsub(*channels)) < self._count:
            if time.monotonic() > until:
                raise RuntimeError("not all are held")
            time.sleep(0.1)

    def change(self, number: int) -> None:
        """What this one waits for changes, as it does at GitLab: the key first, then the news."""
        with self._redis.pipeline(transaction=False) as commands:
            commands.set(key_of(number), self._value + 1)
            commands.publish(f"changes:{key_of(number)}", self._value + 1)
            commands.execute()

    def answered(self, client: socket.socket) -> None:
        """Raises RuntimeError for any other answer than the one to a change."""
        if not client.recv(4096).startswith(b"HTTP/1.1 204 "):
            raise RuntimeError("it was not held")


def waiting_client(peer: Peer, scale: float) -> float:
    """KiB of private memory for one that waits, its connection included."""
    with ExitStack() as stack:
        before = when_still(peer)
        crowd = Crowd(peer, _count(scale), stack)
        crowd.wait()
        return (when_still(peer) - before) / len(crowd.clients) / 1024


def wake(peer: Peer, scale: float, *, is_latency: bool) -> float:
    """CPU microseconds to hear of a change and answer; or milliseconds from one to the other."""
    with ExitStack() as stack:
        crowd = Crowd(peer, _count(scale), stack)
        crowd.wait()
        when_still(peer)
        before, took = cpu_seconds(peer.pid), []
        for number, client in enumerate(crowd.clients):
            started = time.perf_counter()
            crowd.change(number)
            crowd.answered(client)
            took.append(time.perf_counter() - started)
        if is_latency:
            return statistics.median(took) * 1e3
        return (cpu_seconds(peer.pid) - before) / len(took) * 1e6


def _count(scale: float) -> int:
    return max(200, int(WAITERS * scale))


QUESTIONS = (
    Question(
        "runner that waits for a change",
        "KiB",
        waiting_client,
        (POLLS,),
        (Target(4.0),),
        rounds=1,  # the next ones would find the memory there
        known="Workhorse 10 to 20, estimated",
    ),
    Question("runner that is woken", "CPU us", partial(wake, is_latency=False), (POLLS,)),
    Question("from a change to its answer", "ms", partial(wake, is_latency=True), (POLLS,)),
)
