"""Two workers before one backend."""

import os
import signal
import threading

from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import origin
from tests.support.waiting import eventually


def two_workers(address: str) -> str:
    return to_backend(address, server="workers = 2")


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
