"""The proxies side by side, each set up as its own experts would: pools, one worker, no log."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import free_port, running, wait_for

PROXY_CORE = 0
LOAD_CORE = 1

PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "taskset": "util-linux"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that runs and answers."""

    name: str
    port: int
    pid: int


Start = Callable[[Path, int], AbstractContextManager[Peer]]

NGINX = """\
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_max_body_size 0; client_body_temp_path {dir}/nginx-body; proxy_temp_path {dir}/nginx-proxy;
  fastcgi_temp_path {dir}/nginx-f; uwsgi_temp_path {dir}/nginx-u; scgi_temp_path {dir}/nginx-s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""

HAPROXY = """\
global
  nbthread 1
  maxconn 9000
  stats socket {dir}/haproxy.sock
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
  option forwardfor
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin} pool-max-conn 128
"""

FASTPROXY = """\
[server]
listen = ["127.0.0.1:{port}"]
[limits]
body = "64GiB"
idle_timeout = "10m"
connections = 9000
[log]
access = "off"
level = "error"
[auth]
secret_file = "{dir}/secret"
[backend.default]
address = "http://127.0.0.1:{origin}"
[store.default]
type = "local"
path = "{dir}/store"
fsync = false
[[route]]
action = "upload"
path = "/uploads/**"
delete_after = true
[[route]]
action = "proxy"
path = "/**"
"""


def missing() -> list[str]:
    """What is not installed, with the Debian package that has it."""
    return [f"{tool} (Debian: {name})" for tool, name in PACKAGES.items() if not shutil.which(tool)]


@contextmanager
def _started(
    name: str, directory: Path, origin: int, text: str, command: Sequence[str]
) -> Iterator[Peer]:
    """The configuration `text`, filled in, written and given to `command` as its last word."""
    port = free_port()
    config, log = directory / f"{name}.conf", directory / f"{name}.log"
    config.write_text(text.format(dir=directory, port=port, origin=origin))
    with running([*command, str(config)], PROXY_CORE, log) as pid:
        wait_for(port, log)
        yield Peer(name, port, pid)


def nginx(directory: Path, origin: int) -> AbstractContextManager[Peer]:
    """nginx, unbuffered towards the origin."""
    return _started("nginx", directory, origin, NGINX, ["nginx", "-c"])


def haproxy(directory: Path, origin: int) -> AbstractContextManager[Peer]:
    """HAProxy in http mode with one thread."""
    return _started("haproxy", directory, origin, HAPROXY, ["haproxy", "-f"])


def fastproxy(directory: Path, origin: int) -> AbstractContextManager[Peer]:
    """This project with one worker."""
    (directory / "store").mkdir(exist_ok=True)
    secret = directory / "secret"
    secret.write_bytes(b"s" * 48)
    secret.chmod(0o600)
    command = [sys.executable, "-m", "fastproxy", "serve", "--config"]
    return _started("fastproxy", directory, origin, FASTPROXY, command)


PEERS: tuple[Start, ...] = (nginx, haproxy, fastproxy)
