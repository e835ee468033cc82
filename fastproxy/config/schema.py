"""The configuration as values: every key, its unit, its default and why.

Loading, merging flags and environment, and judging live in load.py and check.py. Sizes are bytes
and durations seconds once decoded; in TOML both are written with their unit ("16MiB", "30s").
"""

from typing import Literal

import msgspec


class Size(int):
    """A number of bytes, written "64KiB", "5MiB", "1GiB" or "512B"."""

    __slots__ = ()


class Duration(float):
    """A number of seconds, written "500ms", "30s", "5m" or "4h"."""

    __slots__ = ()


KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown keys are errors."""


class Server(Strict, frozen=True, kw_only=True):
    """Listeners and processes."""

    listen: tuple[str, ...] = ("127.0.0.1:8080",)  # "HOST:PORT", "[::1]:PORT" or "unix:/path"
    admin_listen: str = ""  # /healthz /readyz /metrics; empty: off
    workers: int = 1  # 0: one a core
    backlog: int = 4096  # nginx's 511 is too short for tens of thousands of reconnects
    state_dir: str = ""  # journal of multipart uploads; empty: no journal
    drain: Duration = Duration(30)  # SIGTERM: time for ordinary requests
    upload_drain: Duration = Duration(600)  # SIGTERM: time for uploads
    trusted_proxies: tuple[str, ...] = ()  # CIDRs whose X-Forwarded-* and X-Request-Id are believed


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
    lingering_bytes: Size = Size(16 * MiB)  # read and dropped after an early answer ...
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
    queue: int = 1024  # requests that wait when max_connections is reached
    queue_timeout: Duration = Duration(30)
    ca_file: str = ""  # instead of the system's authorities
    tls_server_name: str = ""  # which its certificate must be for; empty: the host
    tls_verify: bool = True  # False: whoever answers is believed
    send: Send | None = None  # unset: orders are taken off its answers, and nothing is sent


class Redis(Strict, frozen=True, kw_only=True):
    """Where routes with `[route.poll]` learn what has changed."""

    url: str = ""  # "redis://HOST:PORT/DB", "rediss://HOST:PORT/DB" or "unix:///path?db=DB"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""  # instead of the system's authorities
    channel: str = "fastproxy:changes"
    channels: Literal["one", "each"] = "one"  # of "KEY=VALUE"; each key's is CHANNEL:KEY
    timeout: Duration = Duration(5)  # of connecting and of an answer
    heartbeat: Duration = Duration(10)  # silent for so long it is asked for a sign, then given up
    longest_pause: Duration = Duration(10)  # between two attempts to connect


class LocalStore(Strict, frozen=True, kw_only=True, tag_field="type", tag="local"):
    """A directory. Objects appear by atomic rename after fsync."""

    path: str
    fsync: bool = True


class S3Store(Strict, frozen=True, kw_only=True, tag_field="type", tag="s3"):
    """An S3 bucket. Without key files the usual credentials chain decides."""

    bucket: str
    endpoint: str = ""
    region: str = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "auto"
    prefix: str = ""
    access_key_file: str = ""
    secret_key_file: str = ""
    ca_file: str = ""  # instead of the system's authorities
    tls_verify: bool = True  # False: whoever answers is believed
    part_size: Size = Size(8 * MiB)
    equal_parts: bool = False  # Cloudflare R2 wants it
    encryption: Literal["", "AES256", "aws:kms"] = ""  # by the store; empty: as the bucket has it
    kms_key: str = ""  # empty: the account's own
    checksum: Literal["none", "md5", "crc32", "crc32c", "crc64nvme", "sha256"] = "none"
    attempts: int = 5  # of one part
    timeout: Duration = Duration(60)  # of one attempt without progress
    connections: int = 64


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


class Match(Strict, frozen=True, kw_only=True):
    """Which requests a route takes. `path`: exact, `*` is one segment, `**` any rest."""

    path: str = "/**"
    methods: tuple[str, ...] = ()
    host: str = ""


class Queue(Strict, frozen=True, kw_only=True):
    """So many requests of a route at once in each worker; the others wait, each key in turn."""

    at_once: int
    length: int = 1000  # that may wait
    length_per_key: int = 0  # that may wait of one key; 0: no limit of its own
    wait: Duration = Duration(30)  # Workhorse's apiQueueDuration
    key: str = "address"  # whose requests take turns: "address" of the client, or "header:NAME"
    full_status: Literal[429, 503] = 429  # when nobody else may wait ...
    late_status: Literal[429, 503] = 503  # ... and who has waited too long
    retry_after: Duration = Duration(5)


class Poll(Strict, frozen=True, kw_only=True):
    """Hold requests until Redis announces a change of what they ask about."""

    key: str  # where a request names it: "json:FIELD", "header:NAME" or "query:NAME"
    last: str  # where it says which value its client has seen, likewise
    key_prefix: str = ""  # of the key in Redis
    wait: Duration = Duration(50)  # GitLab's apiCiLongPollingDuration
    jitter: float = 0.1  # so much less of it, at random
    on_change: Literal["204", "proxy"] = "204"
    on_timeout: Literal["204", "proxy"] = "204"
    wake_rate: int = 1000  # a second, of one worker; 0: all at once
    max_waiting: int = 100_000  # of one worker; one more is passed on at once
    max_body: Size = Size(32 * KiB)  # Workhorse's
    headers: dict[str, str] = {}  # of every answer


class Route(Match, frozen=True, kw_only=True, tag_field="action"):
    """What all routes share. The first route that matches decides."""

    name: str = ""  # for logs and metrics; default: its path
    queue: Queue | None = None
    deploy_page: str = ""  # a file that answers all of the route while it is there
    deploy_status: int = 503


class ProxyRoute(Route, frozen=True, kw_only=True, tag="proxy"):
    """Forward to a backend and stream back."""

    backend: str = "default"
    buffer: Literal["none", "request", "response", "both"] = "none"
    max_body: Size | None = None
    websocket: bool = False
    poll: Poll | None = None
    errors: Literal["pass", "html", "json", "text"] = "pass"  # what becomes of a backend's
    errors_from: int = 400  # statuses below it pass
    error_pages: str = ""  # a directory of STATUS.html, for "html"


class UploadRoute(Route, frozen=True, kw_only=True, tag="upload"):
    """Ask the backend, store the body, tell the backend where it is."""

    backend: str = "default"
    store: str = "default"
    stores: tuple[str, ...] = ()  # further ones that a permission may name
    authorize_suffix: str = "/authorize"
    authorize_path: str = ""  # all are asked for there, by POST; only in the gitlab dialect
    max_size: Size = Size(5 * 1024 * GiB)
    hashes: tuple[Literal["md5", "sha1", "sha256", "sha512", "crc32c", "crc64nvme"], ...] = ()
    part_size: Size | None = None
    part_concurrency: int = 4
    timeout: Duration = Duration(4 * 3600)
    retain: bool = True  # False: known lengths stream without holding whole parts
    allowed_hosts: tuple[str, ...] = ()  # hosts that presigned URLs may name; empty: none
    delete_after: bool = False  # remove the object once the backend has answered
    scrub_images: bool = False  # take Exif, XMP, comments out of JPEG, PNG and WebP


class FormRoute(UploadRoute, frozen=True, kw_only=True, tag="form"):
    """The same for the files of multipart/form-data; its other fields are passed on.

    `max_size` is for the whole form. What is no such form is proxied.
    """

    authorize_each: bool = False  # ask for every file, with its name; else once, before the body
    max_files: int = 10  # GitLab's number
    max_fields: int = 1000  # Django's and PHP's number
    max_fields_size: Size = Size(1 * MiB)  # names and values of all fields together
    max_part_head: Size = Size(8 * KiB)
    max_name: int = 255  # bytes of a field's name, and of a file's; what file systems take
    zip_metadata: str = ""  # the field in which is told what is in an archive; empty: off
    zip_metadata_store: str = ""  # where that goes; empty: `store`
    zip_members: int = 100_000  # an archive of more is told without
    zip_timeout: Duration = Duration(30)  # to find out what is in an archive


class GitRoute(Route, frozen=True, kw_only=True, tag="git"):
    """git's smart HTTP protocol after the backend's permission; other requests are proxied."""

    backend: str = "default"
    authorize_suffix: str = "/authorize"  # may be empty
    max_push: Size = Size(10 * GiB)
    max_negotiation: Size = Size(64 * MiB)  # what a client has and wants: 50 bytes a commit


class ChannelRoute(Route, frozen=True, kw_only=True, tag="channel"):
    """A WebSocket that the backend permits, to itself or to where it says."""

    backend: str = "default"
    authorize_suffix: str = "/authorize"
    allowed_hosts: tuple[str, ...] = ()  # hosts that a permission's URL may name; empty: none
    ca_file: str = ""  # of these hosts, instead of the system's authorities
    allowed_origins: tuple[str, ...] = ()  # whose pages may connect, too; "*": anybody's
    reauthorize: Duration = Duration(300)  # Workhorse's; 0: never
    ping: Duration = Duration(30)  # Workhorse's; 0: never
    idle_timeout: Duration = Duration(0)  # without a message in either direction; 0: no limit
    max_session: Duration = Duration(0)  # 0: no limit but the permission's


class StaticRoute(Route, frozen=True, kw_only=True, tag="static"):
    """Files beneath a directory."""

    root: str
    index: str = "index.html"
    cache_control: str = ""
    strip_prefix: str = ""
    precompressed: tuple[Literal["br", "zstd", "gzip"], ...] = ()  # FILE.br, .zst, .gz, as wanted


class FixedRoute(Route, frozen=True, kw_only=True, tag="fixed"):
    """One answer for all."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = {}


class PythonRoute(Route, frozen=True, kw_only=True, tag="python"):
    """An async function `module:name` that takes a fastproxy Request and returns a Response."""

    handler: str
    max_body: Size = Size(1 * MiB)


class AsgiRoute(Route, frozen=True, kw_only=True, tag="asgi"):
    """Any ASGI 3 application, `module:name`."""

    application: str
    root_path: str = ""
    max_body: Size | None = None


BackedRoute = (
    ProxyRoute | UploadRoute | FormRoute | GitRoute | ChannelRoute
)  # there is a backend behind it
OwnRoute = StaticRoute | FixedRoute | PythonRoute | AsgiRoute
AnyRoute = BackedRoute | OwnRoute
AnyStore = LocalStore | S3Store


class Config(Strict, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = Server()
    listener: tuple[Listener, ...] = ()
    limits: Limits = Limits()
    memory: Memory = Memory()
    log: Log = Log()
    auth: Auth = Auth()
    redis: Redis = Redis()
    backend: dict[str, Backend] = {}
    store: dict[str, AnyStore] = {}
    git: Git = Git()
    images: Images = Images()
    route: tuple[AnyRoute, ...] = ()
