"""What is done with which requests."""

from typing import Literal

from fastproxy.config.schema.values import Duration, GiB, KiB, MiB, Size, Strict


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
    refuse_images: tuple[Literal["tiff", "heif", "gif"], ...] = ()  # which that cannot clean


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
