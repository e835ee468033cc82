"""Where a connection goes: a TCP address or a unix socket, with or without TLS."""

import ssl
from functools import cache
from urllib.parse import urlsplit

from msgspec import Struct


class Origin(Struct, frozen=True):
    """One place to connect to. `path` is a unix socket; then host and port mean nothing."""

    host: str
    port: int = 80
    is_tls: bool = False
    path: str = ""

    @property
    def host_header(self) -> bytes:
        """What a Host field says of it (RFC 9110 section 7.2): default ports are left out."""
        if self.path:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.is_tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        scheme = "https" if self.is_tls else "http"
        return f"{scheme}://{self.host_header.decode('ascii')}"


def parse_origin(address: str) -> Origin:
    """ "http://HOST:PORT", "https://HOST:PORT" or "unix:/path". Raises ValueError."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path.startswith(("/", "@")):
            raise ValueError(f"{address!r}: a unix socket needs an absolute path")
        return Origin("", 0, path=path)
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{address!r} is not http://HOST:PORT, https://HOST:PORT or unix:/path")
    is_tls = parts.scheme == "https"
    return Origin(parts.hostname, parts.port or (443 if is_tls else 80), is_tls)


def target_of(url: str) -> bytes:
    """The path and query of an absolute URL. Raises ValueError for one that is not ASCII."""
    parts = urlsplit(url)
    return ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("ascii")


@cache  # each takes 20 ms of CPU when the authorities are the system's
def tls_context(ca_file: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """`ca_file` replaces the system's authorities. Without `verify` anybody is believed."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
