"""The routes table: which handler serves a request.

Routing is a security decision: an upload that reaches the backend by another spelling of its path
would be believed there. So the path is decoded and normalised once, and that form decides. A path
that another program could read differently (an encoded slash or backslash, dot segments, `//`,
double encoding, a segment that is nothing but parameters) is matched in all its readings: when
they do not all reach the same route it is refused with 400, else it passes untouched. Upload
routes take only one such thing, the encoded slash of "group%2Fproject". RFC 3986 section 6.2.

Where every backend is known to keep an encoded slash within its segment (`keeps_slash`), and it
stands where nobody could read dots or nothing beside it, that is its only reading.
"""

import re
from binascii import unhexlify
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from fastproxy.config.methods import effective_methods
from fastproxy.config.pattern import PathPattern
from fastproxy.config.schema import AnyRoute, GitRoute, UploadRoute
from fastproxy.errors import BadHead

# Plain: no escapes, parameters or backslashes, no `//`, no segment that starts with a dot.
_NOT_PLAIN = re.compile(rb"[^!$&-:=@-Z_a-z~]|//|/\.")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# Non-shortest UTF-8 that sloppy decoders turn into ASCII (RFC 3629 section 10).
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
# Escapes whose decoding could change the meaning: `/`, `\` and a `%` that starts another escape.
_HARMLESS = re.compile(rb"%(?!2[Ff]|5[Cc]|25[0-9A-Fa-f]{2})([0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile(r"%2[Ff]")
_PARAMETERS = re.compile(r"(?<=[^/]);[^/]*")
_ALL_PARAMETERS = re.compile(r";[^/]*")
_SLASHES = re.compile(r"/{2,}")
_AMBIGUOUS = re.compile(r"%[0-9A-Fa-f]{2}|\\|//|/;|/\.\.?(?:[/;]|\Z)")
_TWISTED = re.compile(r"%(?!2[Ff])[0-9A-Fa-f]{2}|\\|//|/;|/\.\.?(?:[/;]|\Z)")

_KEPT_SLASH: Final = "\0"  # which no path may have: no pattern's text, and within one segment
_ACTING: Final = UploadRoute | GitRoute  # more than passing on, on one reading of a path
_MAX_AMBIGUITIES: Final = 64  # every one makes the readings dearer; honest paths have a handful
_CACHE_ENTRIES: Final = 1024  # 0.55 KiB each; of more paths than that few come twice
_CACHE_PATH: Final = 256  # bytes; longer paths are rare and would make the cache heavy


class NormalisedTarget(NamedTuple):
    """A request target, taken apart.

    `path`: decoded once, slashes merged, dot segments resolved, parameters kept; text with
    surrogate escapes for what is not UTF-8. `raw_path` and `query` are as received, the query
    without its `?`. `readings`: what the table matches, parameters left out; more than one
    when the path is ambiguous. `is_twisted`: ambiguous by more than encoded slashes.
    """

    path: str
    raw_path: bytes
    query: bytes
    readings: tuple[str, ...]
    is_twisted: bool = False


class TableRoute:
    """One row: what it takes and, in `config`, what it does."""

    __slots__ = ("_host", "_suffix", "config", "index", "methods", "name", "pattern", "takes_path")

    def __init__(self, index: int, config: AnyRoute) -> None:
        self.index = index
        self.config = config
        self.name = config.name or config.path
        self.pattern = PathPattern(config.path)
        self.takes_path = self.pattern.fullmatch
        self.methods = tuple(method.encode() for method in effective_methods(config))
        host = config.host.lower().encode()
        self._suffix = host[1:] if host.startswith(b"*.") else b""
        self._host = host

    def takes_host(self, host: bytes) -> bool:
        """`host`: lower case, without port."""
        if self._suffix:
            return host.endswith(self._suffix)
        return not self._host or host == self._host

    def takes_method(self, method: bytes) -> bool:
        """No methods written means any."""
        return not self.methods or method in self.methods


class Matched(NamedTuple):
    """The row that takes the request; without one, the methods other rows would have taken."""

    route: TableRoute | None
    allowed: tuple[bytes, ...] = ()


class Resolved(NamedTuple):
    """A routed request."""

    target: NormalisedTarget
    route: TableRoute | None
    allowed: tuple[bytes, ...] = ()


class RouteTable:
    """All rows in order. Raises ValueError on a bad pattern (config.check reports it first)."""

    def __init__(self, config_routes: Sequence[AnyRoute], keeps_slash: bool = False) -> None:
        self._keeps_slash = keeps_slash
        self.rows = tuple(TableRoute(index, route) for index, route in enumerate(config_routes))
        self._cache: dict[tuple[bytes, bytes, bytes], Resolved] = {}

    def resolve(self, method: bytes, raw_target: bytes, host: bytes) -> Resolved:
        """The route of one request, from its head as received.

        Raises BadHead when the path is malformed or its readings reach different routes.
        """
        raw_path, query = raw_target, b""
        if b"?" in raw_target:
            raw_path, _, query = raw_target.partition(b"?")
        key = (method, raw_path, host)
        found = self._cache.get(key)
        if found is None:
            target = normalise_path(raw_path, self._keeps_slash)
            found = Resolved(target, *self._match_readings(method, target, host))
            if len(raw_path) <= _CACHE_PATH and len(host) <= _CACHE_PATH:
                if len(self._cache) >= _CACHE_ENTRIES:
                    self._cache.clear()
                self._cache[key] = found
        if not query:
            return found
        target, route, allowed = found
        path, _, _, readings, is_twisted = target
        return Resolved(
            NormalisedTarget(path, raw_path, query, readings, is_twisted), route, allowed
        )

    def match(self, method: bytes, path: str, host: bytes) -> Matched:
        """The first row for one reading of a path. Requests go through `resolve`, which is safe."""
        host = bare_host(host)
        bare_path = path.removesuffix("/")
        allowed: dict[bytes, None] = {}
        for row in self.rows:
            if row.takes_path(bare_path) and row.takes_host(host):
                if row.takes_method(method):
                    return Matched(row)
                allowed.update(dict.fromkeys(row.methods))
        return Matched(None, tuple(allowed))

    def _match_readings(self, method: bytes, target: NormalisedTarget, host: bytes) -> Matched:
        first, *others = (self.match(method, reading, host) for reading in target.readings)
        for other in others:
            if other.route is not first.route:
                raise BadHead(f"path reads as {_shown(first)} and as {_shown(other)}")
        if first.route and target.is_twisted and isinstance(first.route.config, _ACTING):
            raise BadHead(f"ambiguous path for upload {_shown(first)}")
        return first


def normalise_path(raw_target: bytes, keeps_slash: bool = False) -> NormalisedTarget:
    """Take an origin-form target (or the `*` of OPTIONS) apart; see the head of this file.

    Raises BadHead for broken escapes, control bytes, a fragment, overlong UTF-8 and paths that
    climb above the root.
    """
    raw_path, _, query = raw_target.partition(b"?")
    if _NOT_PLAIN.search(raw_path) is None and raw_path[:1] == b"/":
        path = raw_path.decode("ascii")
        return NormalisedTarget(path, raw_path, query, (path,))
    if raw_path == b"*":
        return NormalisedTarget("*", raw_path, query, ("/",))
    _refuse_malformed(raw_path)
    path = _normal(_text(_ESCAPE.sub(_unescape, raw_path)))
    base = _text(_HARMLESS.sub(_unescape, raw_path))
    if _AMBIGUOUS.search(base) is None:
        return NormalisedTarget(path, raw_path, query, (_PARAMETERS.sub("", base),))
    if keeps_slash and ";" not in base and _TWISTED.search(_ENCODED_SLASH.sub("/", base)) is None:
        return NormalisedTarget(path, raw_path, query, (_ENCODED_SLASH.sub(_KEPT_SLASH, base),))
    if len(_AMBIGUOUS.findall(base)) > _MAX_AMBIGUITIES:
        raise BadHead("path is ambiguous in too many places")
    is_twisted = _TWISTED.search(base) is not None
    return NormalisedTarget(path, raw_path, query, _readings(base), is_twisted)


def _refuse_malformed(raw_path: bytes) -> None:
    if not raw_path.startswith(b"/"):
        raise BadHead("target is not in origin form")
    if b"#" in raw_path:
        raise BadHead("target has a fragment")
    if _BAD_ESCAPE.search(raw_path):
        raise BadHead("target has a broken %-escape")
    decoded = _ESCAPE.sub(_unescape, raw_path)
    if _CONTROL.search(decoded):
        raise BadHead("path has a control character")
    if _OVERLONG.search(decoded):
        raise BadHead("path has overlong UTF-8")


def _readings(base: str) -> tuple[str, ...]:
    """Every way to read the path, by doing or leaving out each thing a server might do.

    Parameters go before decoding (Tomcat) or after it, but they always go.
    """
    readings = _also([_PARAMETERS.sub("", base), base], _DECODING)
    stripped = [_PARAMETERS.sub("", reading) for reading in readings]
    return tuple(_also(stripped, _CLEANING))


def _also(readings: Sequence[str], steps: Sequence[Callable[[str], str]]) -> list[str]:
    found = dict.fromkeys(readings)
    for step in steps:
        found.update(dict.fromkeys([step(reading) for reading in found]))
    return list(found)


def _decode_again(path: str) -> str:
    decoded = _ESCAPE.sub(_unescape, path.encode("utf-8", "surrogateescape"))
    if _CONTROL.search(decoded):
        raise BadHead("path has a control character, encoded twice")
    return _text(decoded)


def _normal(path: str) -> str:
    """Slashes merged and dot segments resolved. Raises BadHead above the root."""
    return _resolve_dots(_SLASHES.sub("/", path))


def _resolve_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, but climbing above the root is an error."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if not kept:
                raise BadHead("path climbs above the root")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


# The order is that of a chain of servers: decode, perhaps twice, then clean up.
_DECODING: Final = (_decode_again, _decode_again, lambda path: path.replace("\\", "/"))
_CLEANING: Final = (
    lambda path: _ALL_PARAMETERS.sub("", path),
    lambda path: _SLASHES.sub("/", path),
    _resolve_dots,
)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[bytes]) -> bytes:
    return unhexlify(match[1])


def bare_host(host: bytes) -> bytes:
    """A Host header in lower case, without port and final dot: "A.example.:80" is "a.example"."""
    if not host:
        return host
    name, colon, port = host.rpartition(b":")
    if colon and (not port or port.isdigit()):
        host = name
    return host.lower().removesuffix(b".")


def _shown(matched: Matched) -> str:
    return f'route "{matched.route.name}"' if matched.route else "no route"
