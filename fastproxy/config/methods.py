"""The methods a route takes when the file is read as people mean it."""

from typing import Final

from fastproxy.config.schema import AnyRoute, StaticRoute, UploadRoute

_DEFAULTS: Final[dict[type, tuple[str, ...]]] = {
    UploadRoute: ("PUT", "POST"),
    StaticRoute: ("GET", "HEAD"),
}


def effective_methods(route: AnyRoute) -> tuple[str, ...]:
    """() for any. Uploads: PUT and POST; files: GET and HEAD; GET always brings HEAD with it."""
    methods = route.methods or _DEFAULTS.get(type(route), ())
    return (*methods, "HEAD") if "GET" in methods and "HEAD" not in methods else methods
