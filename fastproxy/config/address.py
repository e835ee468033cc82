"""Addresses as text: what we listen on, and what a backend's address may look like."""

from urllib.parse import urlsplit

from msgspec import Struct


class ListenAddress(Struct, frozen=True):
    """A TCP address, or a unix socket when `path` is set. An empty host means all interfaces."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse_listen(text: str) -> ListenAddress:
    """ "HOST:PORT", ":PORT", "[::1]:PORT" or "unix:/path". Raises ValueError for users.

    Port 0 asks the system for a free one.
    """
    if text.startswith("unix:"):
        return ListenAddress(path=_socket_path(text))
    host, colon, port = text.rpartition(":")
    if not colon or not _is_port(port):
        hint = 'e.g. "127.0.0.1:8080"; ":8080" is all interfaces'
        raise ValueError(f'"{text}" is not "HOST:PORT", "[IPv6]:PORT" or "unix:/path" ({hint})')
    if "/" in host:
        raise ValueError(f'"{text}": write "HOST:PORT"; TLS is set up in [[listener]]')
    if host.startswith("[") and host.endswith("]"):
        return ListenAddress(host[1:-1], int(port))
    if ":" in host:
        raise ValueError(f'"{text}": an IPv6 address stands in brackets, e.g. "[::1]:8080"')
    if host == "*":
        raise ValueError(f'"{text}": for all interfaces write ":{port}"')
    return ListenAddress(host, int(port))


def check_backend_address(text: str) -> None:
    """Raise ValueError unless it is "http://HOST:PORT", "https://HOST:PORT" or "unix:/path"."""
    if text.startswith("unix:"):
        _socket_path(text)
        return
    shape = f'"{text}" is not "http://HOST:PORT", "https://HOST:PORT" or "unix:/path"'
    if "://" not in text:
        shape += f'; did you mean "{"unix:" if text.startswith("/") else "http://"}{text}"?'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(shape) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(shape)
    if parts.username is not None:
        raise ValueError("a backend's address holds no user or password")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            f'"{text}": a backend has no path; the client\'s path is passed on as it is'
        )


def _socket_path(text: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/"):
        raise ValueError(
            f'"{text}": a unix socket needs an absolute path, e.g. "unix:/run/app.sock"'
        )
    return path


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
