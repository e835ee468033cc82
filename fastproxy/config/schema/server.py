"""The proxy itself: where it listens, what it grants and takes, what it runs."""

from typing import Literal

from fastproxy.config.schema.values import Duration, GiB, KiB, MiB, Size, Strict


class Server(Strict, frozen=True, kw_only=True):
    """Listeners and processes."""

    listen: tuple[str, ...] = ("127.0.0.1:8080",)  # "HOST:PORT", "[::1]:PORT" or "unix:/path"
    admin_listen: str = ""  # /healthz /readyz /metrics; empty: off
    admin_hosts: tuple[str, ...] = ()  # names besides those without a dot by which it is asked
    workers: int = 1  # 0: one a core
    backlog: int = 4096  # nginx's 511 is too short for tens of thousands of reconnects
    state_dir: str = ""  # journal of multipart uploads; empty: no journal
    drain: Duration = Duration(30)  # SIGTERM: time for ordinary requests
    upload_drain: Duration = Duration(600)  # SIGTERM: time for uploads
    trusted_proxies: tuple[str, ...] = ()  # CIDRs whose X-Forwarded-* and X-Request-Id are believed
    keep_encoded_slash: bool = False  # every backend reads %2F as a part of its segment


class Certificate(Strict, frozen=True, kw_only=True):
    """One certificate and its key, as PEM files. Which is shown, the name that clients ask says."""

    cert_file: str  # the certificate, then those that lead to its authority
    key_file: str = ""  # empty: in cert_file


class Listener(Strict, frozen=True, kw_only=True):
    """What an address of `server.listen` asks of its clients before the first request."""

    address: str
    proxy_protocol_from: tuple[str, ...] = ()  # CIDRs of balancers, which must send the preface
    client_ca_file: str = ""  # clients must show a certificate of these authorities
    certificate: tuple[Certificate, ...] = ()  # TLS, if there are any; the first is the default


class Limits(Strict, frozen=True, kw_only=True):
    """What one client may ask of us."""

    header_bytes: Size = Size(32 * KiB)  # nginx 4 x 8 KiB, HAProxy 16 KiB
    header_count: int = 100  # Apache's and HAProxy's number
    target_bytes: Size = Size(8 * KiB)
    body: Size = Size(1 * GiB)  # proxied bodies; uploads have their own limit
    handshake_timeout: Duration = Duration(10)  # PROXY preface and TLS handshake together
    header_timeout: Duration = Duration(30)
    idle_timeout: Duration = Duration(75)  # nginx's keepalive_timeout
    body_timeout: Duration = Duration(60)  # between two reads of a body
    send_timeout: Duration = Duration(60)  # a reader that takes nothing for this long
    min_body_rate: Size = Size(0)  # bytes a second, averaged after `rate_grace`; 0: off
    min_send_rate: Size = Size(0)  # the same of a client that reads, while something waits for it
    rate_grace: Duration = Duration(30)
    lingering_bytes: Size = Size(16 * MiB)  # read and dropped after an early or last answer ...
    lingering_timeout: Duration = Duration(5)  # ... for at most this long
    connections: int = 16_000  # a worker's clients at once; one more gets 503
    connections_per_client: int = 0  # of one address (IPv6: /64) to one worker; 0: no limit
    requests_per_client: float = 0.0  # a second, of one address to one worker; 0: no limit
    request_burst: int = 100  # that many may come at once before the rate counts


class Memory(Strict, frozen=True, kw_only=True):
    """Upload buffers of one worker: bounded by `budget`, then `spill_budget` of disk."""

    budget: Size = Size(256 * MiB)
    slab: Size = Size(64 * KiB)
    low_water: float = 0.25  # share of free slabs under which slow tails are spilled
    high_water: float = 0.5  # share of free slabs at which spilling stops
    flying_share: float = 0.5  # share of the budget that parts on their way may hold
    spill_budget: Size = Size(4 * GiB)
    spill_dir: str = ""  # empty: the system's temporary directory
    queue: int = 100_000  # uploads that may wait for memory before new ones get 503
    stall_timeout: Duration = Duration(10)  # a silent upload that holds what others wait for


class Log(Strict, frozen=True, kw_only=True):
    """Where lines go: "-" standard output (access) or error (error), "off", or a file."""

    access: str = "-"
    error: str = "-"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Auth(Strict, frozen=True, kw_only=True):
    """The secret shared with the backend. At least 32 bytes, from a file."""

    secret_file: str = ""
    issuer: str = "fastproxy"
    ttl: Duration = Duration(60)


class Images(Strict, frozen=True, kw_only=True):
    """Processes that make images narrower: what one worker may spend on it."""

    processes: int = 2  # at once
    queue: int = 20  # images that wait for one of them; more are sent as they are
    memory: Size = Size(512 * MiB)  # of one process: address space
    max_source: Size = Size(10 * MiB)  # larger images are sent as they are
    max_pixels: int = 40_000_000
    timeout: Duration = Duration(10)  # with waiting


class Git(Strict, frozen=True, kw_only=True):
    """git's own programs, which git routes run in repositories beneath `root`."""

    root: str = ""
    program: str = "git"
    processes: int = 16  # of one worker at once
    queue: int = 256  # requests that wait for one of them
    queue_timeout: Duration = Duration(30)
    timeout: Duration = Duration(3600)  # of one request
    hooks: str = ""  # a directory, "repository" for each one's own; empty: none are run
    archive_cache: str = ""  # a directory for archives that were made once; empty: none are kept
    archive_cache_size: Size = Size(10 * GiB)  # of all workers together
    config: dict[str, str] = {}  # git's own settings, for all repositories
