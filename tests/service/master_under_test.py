"""A master with a small application of its own: `python -m tests.service.master_under_test CONF`.

CONF is a JSON file of the [server] and [log] tables, and `greeting`. The application answers one
request a connection: `/` at once, `/hold?PATH` when the file PATH exists, `/spin` never, `/thread`
after a thread that never ends.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

from fastproxy.config.schema import Config, Duration, FixedRoute, Log, Server
from fastproxy.observe.access_log import begin_record
from fastproxy.service.master import run_master
from fastproxy.service.worker import run_worker
from fastproxy.worker.context import WorkerContext


def load() -> Config:
    """The configuration; raises whatever is wrong with the file."""
    raw = json.loads(Path(sys.argv[1]).read_text())
    server = raw["server"]
    server["listen"] = tuple(server["listen"])
    for key in ("drain", "upload_drain"):
        server[key] = Duration(server.get(key, 5))
    routes = (FixedRoute(name=raw.get("route", "fixed"), body=raw.get("greeting", "hello")),)
    return Config(server=Server(**server), log=Log(**raw.get("log", {})), route=routes)


class FakeApp:
    """As little as a worker needs."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._servers: list[asyncio.Server] = []
        self._running: set[asyncio.Task[None]] = set()
        route = context.config.route[0]
        assert isinstance(route, FixedRoute)
        self._greeting = route.body
        self._requests = context.metrics.requests(route.name)
        if self._greeting == "fail":
            raise RuntimeError("told to fail")
        if self._greeting == "crash":
            os.kill(os.getpid(), 9)

    async def start(self) -> None:
        if self._greeting == "hang":
            await asyncio.Event().wait()
        for listener in self._context.listeners:
            server = await asyncio.start_server(self._connected, sock=listener.dup(), backlog=1024)
            self._servers.append(server)

    async def warm_up(self) -> None:
        pass

    async def drain(self, *, deadline_s: float, upload_deadline_s: float) -> None:
        for server in self._servers:
            server.close()
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._exchange(reader, writer)
        finally:
            self._running.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ")[1]
        path, _, argument = target.partition(b"?")
        if path == b"/spin":
            while True:  # deaf to every signal but SIGKILL
                pass
        if path == b"/thread":
            await asyncio.to_thread(threading.Event().wait)
        while path == b"/hold" and not os.path.exists(argument):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        body = f"{os.getpid()} {self._context.generation} {self._greeting}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        self._requests.count(b"GET", 200, 0.001)
        self._context.access_log.write(begin_record("id", "unix", b"GET", target, b"h"))


def main() -> int:
    """Run the master with the fake application."""
    return run_master(load, worker_main=lambda context: run_worker(context, FakeApp))


if __name__ == "__main__":
    sys.exit(main())
