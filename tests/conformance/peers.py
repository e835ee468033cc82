"""nginx, HAProxy and fastproxy before a witness, each as a process with an ordinary configuration.

None keeps its connections to the backend, so each of them shows what became of one request.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.child import mortal
from tests.support.client import Client
from tests.support.harness import proxy, to_backend
from tests.support.ports import free_port
from tests.support.waiting import eventually

_NGINX = """\
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 1g; lingering_timeout 1s;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""
_HAPROXY = """\
global
  maxconn 4096
defaults
  mode http
  option http-server-close
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server one 127.0.0.1:{backend}
"""


@contextmanager
def nginx(backend: int) -> Iterator[int]:
    """The port it listens on."""
    with tempfile.TemporaryDirectory(prefix="fp-") as home:
        config = Path(home, "nginx.conf")
        port = free_port()
        config.write_text(_NGINX.format(home=home, port=port, backend=backend))
        with _running(["nginx", "-e", "stderr", "-p", home, "-c", str(config)], port):
            yield port


@contextmanager
def haproxy(backend: int) -> Iterator[int]:
    """The port it listens on."""
    with tempfile.TemporaryDirectory(prefix="fp-") as home:
        config = Path(home, "haproxy.cfg")
        port = free_port()
        config.write_text(_HAPROXY.format(port=port, backend=backend))
        with _running(["haproxy", "-db", "-f", str(config)], port):
            yield port


@contextmanager
def fastproxy(backend: int) -> Iterator[int]:
    """The port it listens on."""
    limits = 'lingering_timeout = "1s"'
    address = f"http://127.0.0.1:{backend}"
    with proxy(to_backend(address, "max_idle = 0", limits)) as running:
        yield running.port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(mortal(command), stderr=subprocess.DEVNULL)

    def listens() -> bool:
        assert process.poll() is None, command
        Client(("127.0.0.1", port)).sock.close()
        return True

    try:
        eventually(listens, f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(10)


PEERS = {"fastproxy": fastproxy, "nginx": nginx, "HAProxy": haproxy}


def version(name: str) -> str:
    """As the program says it."""
    command = {"nginx": ["nginx", "-v"], "HAProxy": ["haproxy", "-v"]}[name]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    words = (said.stdout + said.stderr).replace("/", " ").split()
    return next(word for word in words if word[0].isdigit())
