"""The proxies side by side, each as its own experts would set it up; see configurations/."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from benchmarks.processes import LOAD_CORE, PROXY_CORE, free_port, output_of, running, wait_for
from benchmarks.question import OURS, Contestant, Need, Peer, Site, find_program

CONFIGURATIONS = Path(__file__).parent / "configurations"

NGINX_NEED = Need("nginx", debian="nginx-light")
HAPROXY_NEED = Need("haproxy", debian="haproxy")
CADDY_NEED = Need("caddy", debian="caddy")
OPENSSL_NEED = Need("openssl", debian="openssl")


@contextmanager
def _start(
    name: str, command: Sequence[str], template: str, values: dict[str, str], site: Site
) -> Iterator[Peer]:
    """The template, filled in, given to `command` as its last word, on the proxy's core."""
    port = free_port()
    values = {"TLS": "", **values}
    places = {"DIRECTORY": str(site.directory), "ORIGIN": str(site.origin), "PORT": str(port)}

    def fill(text: str) -> str:
        for key, value in [*values.items(), *places.items()]:
            text = text.replace(f"@{key}@", value)
        return text

    if values["TLS"]:
        (site.directory / "tls.pem").write_text(_certificate())
    configuration, log = site.directory / Path(template).name, site.directory / "output.log"
    configuration.write_text(fill((CONFIGURATIONS / template).read_text()))
    program = find_program(command[0]) or command[0]
    words = [program, *map(fill, command[1:]), str(configuration)]
    with running(words, PROXY_CORE, log) as pid:
        wait_for(port, log, is_secure=bool(values["TLS"]))
        yield Peer(name, port, pid, site.directory)


@cache
def _certificate() -> str:
    """One for all: key and certificate (ECDSA, P-256) in PEM."""
    command = "openssl req -x509 -nodes -days 30 -subj /CN=localhost -newkey ec -keyout - -out -"
    curve = ("-pkeyopt", "ec_paramgen_curve:prime256v1")
    return output_of([*command.split(), *curve], LOAD_CORE)


def contestant(
    name: str, command: Sequence[str], template: str, needs: tuple[Need, ...], **values: str
) -> Contestant:
    """One that reads a file of configurations/ in which @KEY@ becomes the value of KEY.

    @PORT@ (to listen on), @ORIGIN@ and @DIRECTORY@ are always there, in values and command, too.
    TLS, unless empty, makes it speak that, with the key and the certificate in @DIRECTORY@/tls.pem.
    """
    return Contestant(name, partial(_start, name, command, template, values), needs)


def ours(template: str = "fastproxy.toml", **values: str) -> Contestant:
    """This project, with a secret and the directory `store` in its own directory."""
    values = {"ACCESS_LOG": "off", **values}
    command = (sys.executable, "-m", "fastproxy", "serve", "--config")

    @contextmanager
    def start(site: Site) -> Iterator[Peer]:
        (site.directory / "store").mkdir(exist_ok=True)
        secret = site.directory / "secret"
        secret.write_bytes(b"s" * 48)
        secret.chmod(0o600)
        with _start(OURS, command, template, values, site) as peer:
            yield peer

    return Contestant(OURS, start)


def nginx(name: str = "nginx", **values: str) -> Contestant:
    """nginx, unbuffered towards the origin."""
    unset = dict.fromkeys(("BUFFERS", "LOCATIONS", "USER"), "")
    values = {"ACCESS_LOG": "off", "WORKERS": "1", **unset, **values}
    return contestant(name, ("nginx", "-c"), "nginx.conf", (NGINX_NEED,), **values)


def haproxy(name: str = "HAProxy", **values: str) -> Contestant:
    """HAProxy in http mode with one thread."""
    values = {"ACCESS_LOG": "", "BUFFERS": "", **values}
    return contestant(name, ("haproxy", "-f"), "haproxy.cfg", (HAPROXY_NEED,), **values)


def caddy(**values: str) -> Contestant:
    """Caddy with one thread, and what it writes by itself in its own directory."""
    values = {"ACCESS_LOG": "", **values}
    command = ("env", "GOMAXPROCS=1", "XDG_CONFIG_HOME=@DIRECTORY@", "XDG_DATA_HOME=@DIRECTORY@")
    run = ("caddy", "run", "--adapter", "caddyfile", "--config")
    return contestant("Caddy", (*command, *run), "Caddyfile", (CADDY_NEED,), **values)


def relay(splice: str) -> Contestant:
    """HAProxy in tcp mode."""
    command = ("haproxy", "-f")
    return contestant("TCP relay", command, "relay.cfg", (HAPROXY_NEED,), SPLICE=splice)


FASTPROXY, NGINX, HAPROXY, CADDY = ours(), nginx(), haproxy(), caddy()
RELAY = relay("option splice-auto")
PLAIN = (FASTPROXY, NGINX, HAPROXY, CADDY, RELAY)

# All with the same certificate, TLS 1.3, and the cipher that clients would have.
SECURE = (
    ours(
        TLS='[[listener]]\naddress = "127.0.0.1:@PORT@"\n'
        '[[listener.certificate]]\ncert_file = "@DIRECTORY@/tls.pem"'
    ),
    nginx(
        TLS="ssl;\n    ssl_protocols TLSv1.3;\n    ssl_certificate @DIRECTORY@/tls.pem;\n"
        "    ssl_certificate_key @DIRECTORY@/tls.pem"
    ),
    haproxy(TLS="ssl crt @DIRECTORY@/tls.pem ssl-min-ver TLSv1.3"),
)

# With an access log: each as it is installed, ours to a file, which it writes in batches.
LOGGING = (
    ours(ACCESS_LOG="@DIRECTORY@/access.log"),
    nginx(ACCESS_LOG="@DIRECTORY@/access.log"),
    haproxy(ACCESS_LOG="log stdout format raw local0\n  option httplog"),
    caddy(ACCESS_LOG="log {\n\t\toutput file @DIRECTORY@/access.log\n\t}"),
)

# For large bodies, with nginx and HAProxy a second time: given larger buffers, which each of their
# connections may take, they copy fewer and warmer bytes.
LARGE = (
    *(FASTPROXY, NGINX, HAPROXY, CADDY),
    relay("option splice-request\n  option splice-response"),
    nginx(
        "nginx, large buffers",
        BUFFERS="client_body_buffer_size 1m;\n  proxy_buffer_size 16k;\n  proxy_buffers 8 64k;",
    ),
    haproxy("HAProxy, large buffers", BUFFERS="tune.bufsize 65536"),
)
