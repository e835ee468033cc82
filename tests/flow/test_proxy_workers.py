"""Two workers before one backend."""

import os
import signal
import threading
from contextlib import ExitStack

from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import origin
from tests.support.waiting import eventually

CLIENTS = 40


def two_workers(address: str, limits: str = "") -> str:
    return to_backend(address, limits=limits, server="workers = 2")


def ask(running: Proxy, clients: ExitStack) -> None:
    """A new client has its answer, and stays."""
    assert clients.enter_context(running.client()).get("/").status == 200


def test_clients_are_served_while_a_worker_is_stopped() -> None:
    with origin() as backend, proxy(two_workers(backend.address)) as running:
        eventually(lambda: len(running.workers) == 2, "two workers")
        stopped = running.workers[0]
        with ExitStack() as clients:
            os.kill(stopped, signal.SIGSTOP)
            try:
                for _ in range(CLIENTS):
                    ask(running, clients)
            finally:
                os.kill(stopped, signal.SIGCONT)


def test_clients_are_served_while_a_worker_is_killed_and_replaced() -> None:
    with origin() as backend, proxy(two_workers(backend.address)) as running:
        eventually(lambda: len(running.workers) == 2, "two workers")
        killed, other = running.workers
        with ExitStack() as clients:
            for _ in range(CLIENTS):
                ask(running, clients)
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: killed not in running.workers, "dead")
            for _ in range(CLIENTS):
                ask(running, clients)
            eventually(lambda: len(running.workers) == 2, "replaced")
            for _ in range(CLIENTS):
                ask(running, clients)
        assert other in running.workers


def test_no_client_is_refused_while_a_worker_has_room() -> None:
    with (
        origin() as backend,
        proxy(two_workers(backend.address, "connections = 12")) as running,
    ):
        eventually(lambda: len(running.workers) == 2, "two workers")
        with ExitStack() as clients:
            for _ in range(2 * 12):
                ask(running, clients)


def test_no_new_connection_fails_while_generations_change() -> None:
    ended = threading.Event()
    failures: list[Exception] = []

    def connect_again_and_again(running: Proxy) -> None:
        while not ended.is_set():
            try:
                with running.client() as client:
                    ended.wait(0.002)  # connected, but its request is still on its way
                    assert client.get("/", fields="Connection: close\r\n").status == 200
            except (OSError, AssertionError) as error:
                failures.append(error)

    with origin() as backend, proxy(two_workers(backend.address)) as running:
        threads = [
            threading.Thread(target=connect_again_and_again, args=(running,)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = set(running.workers)
                os.kill(running.process.pid, signal.SIGHUP)
                eventually(
                    lambda before=before: not before & set(running.workers), "reloaded", within=60
                )
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert failures == []
