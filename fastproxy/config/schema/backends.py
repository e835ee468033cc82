"""Whom it asks: backends, and Redis."""

from typing import Literal

from fastproxy.config.schema.values import Duration, Strict


class Send(Strict, frozen=True, kw_only=True):
    """What a backend may order to be sent in place of its answers: nothing else is."""

    files: tuple[str, ...] = ()  # directories beneath which X-Sendfile may name files
    git: bool = False  # out of repositories: blobs, diffs, patches, archives, snapshots
    locations: dict[str, str] = {}  # X-Accel-Redirect: what paths begin with, and their directory
    stores: tuple[str, ...] = ()  # stores whose objects it may name
    hosts: tuple[str, ...] = ()  # of URLs it may name: "HOST", "HOST:PORT" or "*.DOMAIN"
    networks: tuple[str, ...] = ()  # CIDRs where those hosts may be besides public addresses
    connect_timeout: Duration = Duration(10)  # to such a host, its name's resolution included
    timeout: Duration = Duration(60)  # of such a host or a store, without progress
    image_widths: tuple[int, ...] = ()  # pixels to which it may have images made narrower


class Backend(Strict, frozen=True, kw_only=True):
    """A service behind us. `address`: "http://HOST:PORT", "https://HOST:PORT" or "unix:/path"."""

    address: str
    dialect: Literal["native", "gitlab"] = "native"  # what it is asked and told with
    connect_timeout: Duration = Duration(5)
    header_timeout: Duration = Duration(300)  # Workhorse's proxyHeadersTimeout
    body_timeout: Duration = Duration(60)  # between two reads of a response body
    idle_timeout: Duration = Duration(15)  # pooled connections; keep below the backend's own
    max_idle: int = 128
    max_connections: int = 0  # a worker's, 0: no limit
    queue: int = 1024  # requests that wait when max_connections is reached, and questions
    queue_timeout: Duration = Duration(30)
    ca_file: str = ""  # instead of the system's authorities
    tls_server_name: str = ""  # which its certificate must be for; empty: the host
    tls_verify: bool = True  # False: whoever answers is believed
    send: Send | None = None  # unset: orders are taken off its answers, and nothing is sent


class Sentinels(Strict, frozen=True, kw_only=True):
    """Who knows which Redis is the master now; the host of Redis' `url` is its name to them."""

    addresses: tuple[str, ...]  # "HOST" or "HOST:PORT"
    username: str = ""
    password_file: str = ""
    tls: bool = False


class Redis(Strict, frozen=True, kw_only=True):
    """Where routes with `[route.poll]` learn what has changed."""

    url: str = ""  # "redis://HOST:PORT/DB", "rediss://HOST:PORT/DB" or "unix:///path?db=DB"
    sentinel: Sentinels | None = None
    username: str = ""
    password_file: str = ""
    ca_file: str = ""  # instead of the system's authorities
    channel: str = "fastproxy:changes"
    channels: Literal["one", "each"] = "one"  # of "KEY=VALUE"; each key's is CHANNEL:KEY
    timeout: Duration = Duration(5)  # of connecting and of an answer
    heartbeat: Duration = Duration(10)  # silent for so long it is asked for a sign, then given up
    longest_pause: Duration = Duration(10)  # between two attempts to connect
