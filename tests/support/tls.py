"""TLS for tests: certificates, a client, and a terminator in front of any server."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.support.client import Client


class Authority:
    """Issues certificates into files of a folder; `file` is what trusts them."""

    def __init__(self, home: Path, name: str = "ca") -> None:
        self.home = home
        self.file = home / f"{name}.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, *names: str, file: str = "", expired: bool = False, common_name: str | None = None
    ) -> Path:
        """Certificate and key for `names`, in one file called `file` or as the first name."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self._ca.issue_cert(*names, not_after=until, common_name=common_name)
        path = self.home / f"{file or names[0].replace('*', 'any')}.pem"
        path.touch(mode=0o600)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def client_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """A client that trusts only this authority; `certificate`: what it shows itself."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.set_alpn_protocols(["h2", "http/1.1"])
        if certificate is not None:
            context.load_cert_chain(str(certificate))
        return context


def listener_table(*certificates: Path, more: str = "") -> str:
    """The [[listener]] of the harness's port; `more`: lines of TOML."""
    table = f'[[listener]]\naddress = "127.0.0.1:PORT"\n{more}\n'
    for path in certificates:
        table += f'[[listener.certificate]]\ncert_file = "{path}"\n'
    return table


class TlsClient(Client):
    """A connection that speaks TLS once `before` is sent, in one packet with its first bytes."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        name: str = "localhost",
        before: bytes = b"",
        timeout_s: float = 30,
    ) -> None:
        super().__init__(("127.0.0.1", port), timeout_s=timeout_s)
        try:
            if before:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                self.sock.sendall(before)
            tls = context.wrap_socket(
                self.sock, server_hostname=name, do_handshake_on_connect=False
            )
            self.sock = tls
            self._shake_hands(tls, is_corked=bool(before))
        except BaseException:
            self.sock.close()
            raise
        self.tls = tls

    def _shake_hands(self, tls: ssl.SSLSocket, *, is_corked: bool) -> None:
        if is_corked:
            tls.setblocking(False)
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            tls.settimeout(30)
        tls.do_handshake()


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
def tls_before(
    port: int, home: Path, *, name: str = "localhost", expired: bool = False
) -> Iterator[Terminator]:
    """A terminator with a certificate for `name` before 127.0.0.1:`port`."""
    authority = Authority(home)
    ca_file = authority.file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue(name, file="before", expired=expired))
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
