"""git clients at once: what fastproxy takes beside nginx with fcgiwrap and git's own http-backend.

    python -m benchmarks.git [ROUNDS]

makes a repository of 100 MiB, lets 20 clients clone it at once from each, in turn, and lets 20 push
as much into repositories of their own through fastproxy. CPU is that of the proxy's processes, and
of git's where the proxy waits for them (fcgiwrap does not); memory is what its own processes held.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from benchmarks.accounting import family, peak_of, resident_bytes
from benchmarks.processes import CORES, free_port, on_core, wait_for

CLIENTS: Final = 20
FILES: Final = 100
FILE_BYTES: Final = 1 << 20
ROUNDS: Final = 2
_TICK: Final = os.sysconf("SC_CLK_TCK")
_CLIENT: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
_PERMISSION_TYPE: Final = "application/vnd.fastproxy.authorize+json"

NGINX: Final = """
user root; worker_processes 1; daemon off; pid {home}/nginx.pid; error_log {home}/nginx.log;
events {{ worker_connections 512; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {home}/bodies;
    fastcgi_temp_path {home}/fastcgi; proxy_temp_path {home}/proxy;
    uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            fastcgi_pass unix:{home}/fcgi.sock;
            fastcgi_request_buffering off; fastcgi_buffering off;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {root};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
            fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
        }}
    }}
}}
"""
FASTPROXY: Final = """
[server]
listen = ["127.0.0.1:{port}"]
[log]
access = "off"
[auth]
secret_file = "{home}/secret"
[backend.default]
address = "http://127.0.0.1:{backend}"
[git]
root = "{root}"
processes = 64
[[route]]
action = "git"
"""


def git(*arguments: object, cwd: Path | None = None) -> None:
    """Run it, quietly. Raises CalledProcessError."""
    environment = {**os.environ, **_CLIENT}
    subprocess.run(
        ["git", *map(str, arguments)], cwd=cwd, env=environment, check=True, capture_output=True
    )


def repository(home: Path) -> Path:
    """A bare one with FILES files that do not compress, beneath `home`/root."""
    tree = home / "tree"
    git("init", "--quiet", "--initial-branch", "main", tree)
    for number in range(FILES):
        (tree / f"{number}").write_bytes(random.Random(number).randbytes(FILE_BYTES))
    git("add", "--all", cwd=tree)
    who = ("-c", "user.name=b", "-c", "user.email=b@b")
    git(*who, "commit", "--quiet", "--message", "all", cwd=tree)
    git("clone", "--quiet", "--bare", tree, home / "root/big.git")
    for number in range(CLIENTS):
        git("init", "--quiet", "--bare", home / f"root/push{number}.git")
    return tree


class Permits(BaseHTTPRequestHandler):
    """A backend that allows everything."""

    protocol_version = "HTTP/1.1"

    def _permit(self) -> None:
        name = self.path.split("/")[1]
        body = json.dumps({"repository": name, "allow": ["fetch", "push"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", _PERMISSION_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _permit  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Peer:
    """One that serves the repositories. `own` counts the proxy's processes alone."""

    def __init__(self, name: str, port: int, pids: list[int]) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self._own = [pid for top in pids for pid in family(top)]  # before any program of git's

    def cpu(self) -> tuple[float, float]:
        """Seconds of the proxy's processes, and those of the children that have ended."""
        own = children = 0
        for pid in self._own:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            own += int(fields[11]) + int(fields[12])
            children += int(fields[13]) + int(fields[14])
        return own / _TICK, children / _TICK

    def rss(self) -> int:
        """Resident bytes of the proxy's processes."""
        return sum(map(resident_bytes, self._own))


@contextmanager
def started(stack: ExitStack, home: Path) -> Iterator[list[Peer]]:
    """All peers that can be had."""
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Permits)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    (home / "secret").write_bytes(b"k" * 32)
    (home / "secret").chmod(0o600)
    words = {"home": home, "root": home / "root", "backend": backend.server_port}
    port = free_port()
    (home / "f.toml").write_text(FASTPROXY.format(port=port, **words))
    command = [sys.executable, "-m", "fastproxy", "serve", "--config", str(home / "f.toml")]
    peers = [Peer("fastproxy", port, [_run(stack, command, home / "fastproxy.log", port)])]
    if shutil.which("fcgiwrap") and shutil.which("nginx"):
        port = free_port()
        words["backend"] = f"{subprocess.getoutput('git --exec-path')}/git-http-backend"
        (home / "nginx.conf").write_text(NGINX.format(port=port, **words))
        spawn = ["fcgiwrap", "-c", str(CLIENTS), "-s", f"unix:{home}/fcgi.sock"]
        fcgi = _run(stack, spawn, home / "fcgi.log")
        command = ["nginx", "-e", str(home / "nginx.log"), "-c", str(home / "nginx.conf")]
        peers.append(Peer("nginx, fcgiwrap", port, [fcgi, _run(stack, command, home / "n", port)]))
    yield peers
    backend.shutdown()


def _run(stack: ExitStack, command: list[str], log: Path, port: int = 0) -> int:
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, stdout=output, stderr=output)
    stack.callback(process.wait, 20)
    stack.callback(process.terminate)
    if port:
        wait_for(port, log)
    return process.pid


def measured(peer: Peer, act: Callable[[int], None], gib: float) -> str:
    """Let CLIENTS clients `act` at once, and say what it took."""
    before, (own, children) = peer.rss(), peer.cpu()
    start = time.monotonic()
    with peak_of(peer.rss) as peak, ThreadPoolExecutor(CLIENTS) as pool, on_core(*CORES):
        list(pool.map(act, range(CLIENTS)))
    seconds = time.monotonic() - start
    own_after, children_after = peer.cpu()
    own, children = own_after - own, children_after - children
    mib = [f"{value / (1 << 20):.0f}" for value in (before, peak.value, peer.rss())]
    cpu = f"CPU s/GiB: own {own / gib:.2f}, git's {children / gib or math.nan:.2f}"
    return f"{peer.name:16} {seconds:5.1f} s  {cpu}  RSS MiB before, most, after: {', '.join(mib)}"


def main() -> None:
    """See the module."""
    gib = CLIENTS * FILES * FILE_BYTES / (1 << 30)
    with tempfile.TemporaryDirectory(prefix="fastproxy-git-") as name, ExitStack() as stack:
        home = Path(name)
        tree = repository(home)
        with started(stack, home) as peers:
            for turn in range(int(sys.argv[1]) if sys.argv[1:] else ROUNDS):
                for peer in peers:

                    def clone(number: int, peer: Peer = peer) -> None:
                        copy = home / f"copy{number}"
                        git("clone", "--quiet", "--bare", f"{peer.url}/big.git", copy)
                        shutil.rmtree(copy)

                    print(f"clone {turn}", measured(peer, clone, gib), flush=True)

            def push(number: int) -> None:
                git("push", "--quiet", f"{peers[0].url}/push{number}.git", "main", cwd=tree)

            print("push   ", measured(peers[0], push, gib), flush=True)


if __name__ == "__main__":
    main()
