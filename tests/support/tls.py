"""TLS in front of any server of a test: terminates and passes the bytes on."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Terminator:
    """`ca_file` is what a client must trust to reach `url`."""

    port: int
    ca_file: Path

    @property
    def url(self) -> str:
        """By name: certificates are for names."""
        return f"https://localhost:{self.port}"


@contextmanager
def tls_before(port: int, home: Path, *, name: str = "localhost") -> Iterator[Terminator]:
    """A terminator with a certificate for `name` before 127.0.0.1:`port`."""
    authority = trustme.CA()
    ca_file = home / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    loop, relay = asyncio.new_event_loop(), _Relay(port)
    server = loop.run_until_complete(relay.serve(context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Terminator(server.sockets[0].getsockname()[1], ca_file)
    finally:
        asyncio.run_coroutine_threadsafe(relay.end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class _Relay:
    """Passes connections on to 127.0.0.1:`port`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, context: ssl.SSLContext) -> asyncio.Server:
        return await asyncio.start_server(self._pass_on, "localhost", 0, ssl=context, family=2)

    async def end(self, server: asyncio.Server) -> None:
        """Return when no connection is left, not one that waits for its peer to say goodbye."""
        gone = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0)  # asked after close(), Python 3.11 does not wait
        server.close()
        tasks = asyncio.all_tasks() - {gone, asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await gone

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError), closing(writer):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.append(inner_writer)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
