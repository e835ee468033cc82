"""The configuration as values: every key, its unit, its default and why.

Loading, merging flags and environment, and judging live in load.py and check.py. Sizes are bytes
and durations seconds once decoded; in TOML both are written with their unit ("16MiB", "30s").
"""

from fastproxy.config.schema.backends import (
    Backend,
    Redis,
    Send,
    Sentinels,
)
from fastproxy.config.schema.routes import (
    AnyRoute,
    AsgiRoute,
    BackedRoute,
    ChannelRoute,
    FixedRoute,
    FormRoute,
    GitRoute,
    Match,
    OwnRoute,
    Poll,
    ProxyRoute,
    PythonRoute,
    Queue,
    Route,
    StaticRoute,
    UploadRoute,
)
from fastproxy.config.schema.server import (
    Auth,
    Certificate,
    Git,
    Images,
    Limits,
    Listener,
    Log,
    Memory,
    Server,
)
from fastproxy.config.schema.stores import (
    AnyStore,
    LocalStore,
    S3Store,
)
from fastproxy.config.schema.values import (
    Duration,
    GiB,
    KiB,
    MiB,
    Size,
    Strict,
)

__all__ = [
    "AnyRoute",
    "AnyStore",
    "AsgiRoute",
    "Auth",
    "BackedRoute",
    "Backend",
    "Certificate",
    "ChannelRoute",
    "Config",
    "Duration",
    "FixedRoute",
    "FormRoute",
    "GiB",
    "Git",
    "GitRoute",
    "Images",
    "KiB",
    "Limits",
    "Listener",
    "LocalStore",
    "Log",
    "Match",
    "Memory",
    "MiB",
    "OwnRoute",
    "Poll",
    "ProxyRoute",
    "PythonRoute",
    "Queue",
    "Redis",
    "Route",
    "S3Store",
    "Send",
    "Sentinels",
    "Server",
    "Size",
    "StaticRoute",
    "Strict",
    "UploadRoute",
]


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
