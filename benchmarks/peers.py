"""The proxies side by side, each set up as its own experts would: pools, one worker, no log."""

import shutil
import sys
from collections.abc import Callable, Iterator
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
def nginx(directory: Path, origin: int) -> Iterator[Peer]:
    """nginx, unbuffered towards the origin."""
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(dir=directory, port=port, origin=origin))
    log = directory / "nginx.log"
    with running(["nginx", "-c", str(config)], PROXY_CORE, log) as pid:
        wait_for(port, log)
        yield Peer("nginx", port, pid)


@contextmanager
def haproxy(directory: Path, origin: int) -> Iterator[Peer]:
    """HAProxy in http mode with one thread."""
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(dir=directory, port=port, origin=origin))
    log = directory / "haproxy.log"
    with running(["haproxy", "-f", str(config)], PROXY_CORE, log) as pid:
        wait_for(port, log)
        yield Peer("haproxy", port, pid)


@contextmanager
def fastproxy(directory: Path, origin: int) -> Iterator[Peer]:
    """This project with one worker."""
    port = free_port()
    config = directory / "fastproxy.toml"
    (directory / "store").mkdir(exist_ok=True)
    secret = directory / "secret"
    secret.write_bytes(b"s" * 48)
    secret.chmod(0o600)
    config.write_text(FASTPROXY.format(dir=directory, port=port, origin=origin))
    log = directory / "fastproxy.log"
    command = [sys.executable, "-m", "fastproxy", "serve", "--config", str(config)]
    with running(command, PROXY_CORE, log) as pid:
        wait_for(port, log)
        yield Peer("fastproxy", port, pid)


PEERS: tuple[Start, ...] = (nginx, haproxy, fastproxy)
