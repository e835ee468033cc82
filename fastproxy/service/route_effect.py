"""What a route does to a request, in one sentence."""

from fastproxy.config.schema import (
    AnyRoute,
    AsgiRoute,
    ChannelRoute,
    Config,
    FixedRoute,
    FormRoute,
    GitRoute,
    LocalStore,
    ProxyRoute,
    PythonRoute,
    S3Store,
    StaticRoute,
    UploadRoute,
)
from fastproxy.config.units import format_duration, format_size


def describe_effect(config: Config, route: AnyRoute, method: str = "", path: str = "") -> str:
    """For one request, or in general when method and path (as received) are left out."""
    effect = _action(config, route, method, path or route.path)
    return effect if route.queue is None else f"{effect}, {route.queue.at_once} at once"


def _action(config: Config, route: AnyRoute, method: str, path: str) -> str:
    match route:
        case ProxyRoute():
            buffered = "" if route.buffer == "none" else f", buffering: {route.buffer}"
            limit = config.limits.body if route.max_body is None else route.max_body
            sent = f"{method} {_url(config, route.backend, path)}".strip()
            if route.poll is not None:
                return f"poll: held up to {format_duration(route.poll.wait)}, then {sent}"
            return f"proxy: {sent}, bodies up to {format_size(limit)}{buffered}"
        case FormRoute():
            return f"form: files as in {_upload(config, route, method, path)}; else proxy"
        case UploadRoute():
            return _upload(config, route, method, path)
        case GitRoute():
            return _git(config, route, method, path)
        case ChannelRoute():
            asked = f"GET {_url(config, route.backend, path)}{route.authorize_suffix}"
            return f"channel: {asked}, then a WebSocket"
        case StaticRoute():
            return f"static: a file beneath {route.root}"
        case FixedRoute():
            return f"fixed: answer {route.status} with {len(route.body.encode())} bytes"
        case PythonRoute():
            return f"python: call {route.handler}"
        case AsgiRoute():
            return f"asgi: run {route.application}"


def _upload(config: Config, route: UploadRoute, method: str, path: str) -> str:
    url = _url(config, route.backend, path)
    # The backend is asked, and told the end, with the client's own method, as Workhorse does.
    asked = f"{method} {url}{route.authorize_suffix}".strip()
    if route.authorize_path:
        asked = f"POST {_url(config, route.backend, route.authorize_path)}"
    told = f"{method} {url}".strip()
    return f"upload: {asked}, then {_storing(config, route)}, then the report: {told}"


def _git(config: Config, route: GitRoute, method: str, path: str) -> str:
    url = _url(config, route.backend, path)
    asked = f"{method} {url}{route.authorize_suffix}".strip()
    return f"git: {asked}, then {config.git.program} beneath {config.git.root}; else proxy"


def _storing(config: Config, route: UploadRoute) -> str:
    store = config.store.get(route.store)
    most = f"(at most {format_size(route.max_size)})"
    if isinstance(store, S3Store):
        size = format_size(route.part_size or store.part_size)
        return f'parts of {size} to store "{route.store}", s3 bucket {store.bucket} {most}'
    place = f"directory {store.path}" if isinstance(store, LocalStore) else "which is missing"
    return f'the body to store "{route.store}", {place} {most}'


def _url(config: Config, name: str, path: str) -> str:
    backend = config.backend.get(name)
    if backend is None:
        return f'{path} to backend "{name}", which is missing'
    address = backend.address.removesuffix("/")
    return f"{address} {path}" if address.startswith("unix:") else f"{address}{path}"
