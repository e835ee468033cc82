"""A whole fastproxy, master and worker, for upload tests, and a look at what it leaves behind."""

import base64
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from fastproxy.storage.journal import Entry, fold
from tests.service.running import children, is_alive
from tests.support.child import REPOSITORY, mortal
from tests.support.monolith import Monolith
from tests.support.ports import free_port
from tests.support.waiting import eventually

SECRET = b"a shared secret of 32 bytes long"
MIB = 1 << 20
_PATTERN = random.Random(7).randbytes(MIB + 7)  # no part size is a multiple: order shows


def body_of(size: int) -> bytes:
    """The first `size` bytes of a stream that does not repeat at any part's edge."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


class Site:
    """One configuration and its running master."""

    def __init__(self, home: Path, backend: Monolith, **tables: Any) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = free_port()
        self.admin = free_port()
        self.access_log = home / "access.log"
        self.error_log = home / "error.log"
        self.local = home / "objects"
        self.backend = backend
        _directory(self.local)
        write_private(home / "secret", base64.b64encode(SECRET).decode())
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "admin_listen": f"127.0.0.1:{self.admin}",
            "state_dir": _directory(home / "state"),
            **tables.pop("server", {}),
        }
        self.tables: dict[str, Any] = {
            "server": server,
            "auth": {"secret_file": str(home / "secret")},
            "log": {"access": str(self.access_log), "error": str(self.error_log)},
            "memory": {"spill_dir": _directory(home / "spill"), **tables.pop("memory", {})},
            "limits": {"connections": 4096, **tables.pop("limits", {})},
            "backend": {"default": {"address": backend.address, **tables.pop("to_backend", {})}},
            **tables,
        }
        self.process: subprocess.Popen[bytes] | None = None

    # -- the process ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the master and wait until its workers are ready."""
        config = self.home / "fastproxy.toml"
        config.write_text(to_toml(self.tables))
        self.process = subprocess.Popen(
            mortal([sys.executable, "-m", "fastproxy", "serve", "--config", str(config)]),
            cwd=REPOSITORY,
        )
        self.until_ready()

    def until_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.errors()
            return self.metric('fastproxy_workers{state="ready"}') >= 1

        eventually(ready, "ready", within=40)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """Pids of those that were ready once and still live."""
        lines = map(json.loads, self.errors().splitlines())
        ready = [line["worker_pid"] for line in lines if line["msg"] == "worker is ready"]
        return [pid for pid in ready if is_alive(pid)]

    def kill(self) -> None:
        """SIGKILL to everything that is ours."""
        if self.process is None or self.process.poll() is not None:
            return
        for pid in (self.pid, *children(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    # -- what it says --------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Every series by its name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as got:
            lines = got.read().decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if line and line[0] != "#")
        return {name: float(value) for name, _, value in rows}

    def metric(self, series: str) -> float:
        return self.metrics().get(series, 0.0)

    def errors(self) -> str:
        return self.error_log.read_text() if self.error_log.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        """The access log."""
        with suppress(FileNotFoundError):
            whole, _, _ = self.access_log.read_text().rpartition("\n")  # one may be half written
            return [json.loads(line) for line in whole.splitlines()]
        return []

    def line(self, path: str) -> dict[str, Any]:
        """The one line about a path, once it is written."""
        eventually(lambda: [one for one in self.lines() if one["path"] == path], f"line of {path}")
        (found,) = [one for one in self.lines() if one["path"] == path]
        return found

    def logs_are_good(self) -> None:
        """No secret in any log, and nothing that looks like a bug."""
        access = self.access_log.read_text() if self.access_log.exists() else ""
        for text in (self.errors(), access):
            assert not SECRETS.search(text), SECRETS.search(text)
        found = [sign for sign in SIGNS_OF_BUGS if sign in self.errors()]
        assert not found, self.errors()

    # -- what it holds -------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Wait until no request runs and nothing is held; the counters balance."""
        deadline = time.monotonic() + 10
        while held := self.held():
            assert time.monotonic() < deadline, held
            time.sleep(0.02)

    def forgotten(self) -> None:
        """Wait until also the journal is empty: writes in doubt are looked at a second time."""
        self.at_rest()
        eventually(lambda: not self.journal(), "an empty journal")

    def held(self) -> dict[str, float]:
        """What is not zero although it should be."""
        metrics = self.metrics()
        finished = sum(v for k, v in metrics.items() if "uploads_finished_total" in k)
        watched = {
            "slabs": metrics['fastproxy_slabs{state="used"}'],
            "spilled": metrics["fastproxy_spilled_bytes"],
            "paused": metrics["fastproxy_paused_uploads"],
            "requests": metrics["fastproxy_requests_in_flight"],
            "uploads": metrics["fastproxy_uploads_started_total"] - finished,
            "temporary files": float(len(self.unfinished())),
        }
        return {name: value for name, value in watched.items() if value}

    def unfinished(self) -> list[Path]:
        """Temporary files of the local store, and named ones of the spill directory."""
        temporary = (self.local / ".fastproxy-tmp").glob("*/*")
        found = [*temporary, *(self.home / "spill").iterdir()]
        return [path for path in found if path.name != "lock"]

    def objects(self) -> list[str]:
        """Keys of the local store."""
        return sorted(
            str(path.relative_to(self.local))
            for path in self.local.rglob("*")
            if path.is_file() and ".fastproxy-tmp" not in path.parts
        )

    def journal(self) -> list[Entry]:
        """Entries of all journals that nobody ended."""
        journals = (self.home / "state/journal").glob("*.jsonl")
        return [entry for path in journals for entry in fold(path.read_bytes())]

    # -- clients -------------------------------------------------------------------------------

    def client(self) -> "Client":
        return Client(self.port)

    def put(self, path: str, body: bytes, **fields: str) -> "Response":
        """One whole upload of known length."""
        with self.client() as client:
            client.head("PUT", path, {"Content-Length": str(len(body)), **fields})
            client.send(body)
            return client.response()


class Response:
    """A whole response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.body = response.read()

    @property
    def upload(self) -> dict[str, Any]:
        """What `monolith.accept` sent back."""
        assert self.status == 201, (self.status, self.body)
        told: dict[str, Any] = json.loads(self.body)["upload"]
        return told


class _Answers(io.BufferedReader):
    """What comes on a connection; a response that ends does not take the next one's bytes along."""

    def close(self) -> None:
        """The connection is closed by its owner."""


class Client:
    """A connection driven byte by byte."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = _Answers(socket.SocketIO(self.sock, "r"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def head(self, method: str, path: str, fields: Mapping[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: uploads.test"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def chunks(self, body: bytes, sizes: Iterable[int]) -> None:
        """The body in chunks of these sizes, over and over, many to a write; then the end."""
        view, framed = memoryview(body), bytearray()
        while view:
            for size in sizes:
                piece, view = view[:size], view[size:]
                if piece:
                    framed += b"%x\r\n%b\r\n" % (len(piece), bytes(piece))
            if len(framed) > 200_000:
                self.send(bytes(framed))
                framed.clear()
        self.send(bytes(framed) + b"0\r\n\r\n")

    def response(self, timeout: float = 60) -> Response:
        self.sock.settimeout(timeout)
        source: Any = SimpleNamespace(makefile=lambda mode: self._answers)
        response = http.client.HTTPResponse(source)
        response.begin()
        return Response(response)

    def nothing_for(self, seconds: float) -> bool:
        """Whether nothing comes for that long."""
        self.sock.settimeout(seconds)
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True

    def reset(self) -> None:
        """Leave with an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def write_private(path: Path, text: str) -> None:
    """Only for us to read, as a secret should be."""
    path.touch(mode=0o600)
    path.write_text(text)


def to_toml(tables: Mapping[str, Any]) -> str:
    """Tables, tables of tables, and arrays of tables; values as JSON writes them."""
    lines: list[str] = []
    for name, table in tables.items():
        if isinstance(table, list):
            for one in table:
                lines += [f"[[{name}]]", *_values(one)]
        elif all(isinstance(value, dict) for value in table.values()):
            for inner, one in table.items():
                lines += [f"[{name}.{inner}]", *_values(one)]
        else:
            lines += [f"[{name}]", *_values(table)]
    return "\n".join(lines) + "\n"


def _values(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{json.dumps(name)} = {_written(value)}" for name, value in table.items())


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_values(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)


def _directory(path: Path) -> str:
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


SECRETS = re.compile(r"eyJ[\w-]+\.|X-Amz-Signature=(?!\[)\w|X-Amz-Credential=(?!\[)\w|s3cr3t")
SIGNS_OF_BUGS = ("Traceback", "bug in", "never retrieved", "never awaited", "Exception in")


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """Started, and killed when the block ends. No log may hold a secret."""
    try:
        site.start()
        yield site
        site.logs_are_good()
    finally:
        site.kill()
