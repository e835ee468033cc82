"""What other hosts have, in a backend's place: only hosts that are configured, at addresses that
were judged, and no redirect that the order does not allow (SSRF).

Two spellings: ours, and GitLab's `send-url` with the fields of Workhorse's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from fastproxy.errors import BackendFault, BadOrder, FastproxyError, NothingToSend
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.relay import asked, is_timeout, opened_stream, relay
from fastproxy.upstream.origin import Origin, parse_origin, target_of
from fastproxy.upstream.pinned import PinnedPools
from fastproxy.upstream.stream import Stream

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_METHODS: Final = frozenset({"GET", "HEAD"})
# What would let an order speak for the client's connection or ours.
_NOT_OURS: Final = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te",
})  # fmt: skip
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)").fullmatch
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Url(msgspec.Struct):
    """The order. `headers` go to the host; `response_headers` to the client, before the host's."""

    url: str
    redirects: bool = False
    headers: dict[str, str] = {}
    response_headers: dict[str, str] = {}


class Workhorse(msgspec.Struct, rename="pascal"):
    """GitLab's. What would only widen our own rules (AllowLocalhost, AllowedURIs) is not read."""

    url: str = msgspec.field(name="URL")
    allow_redirects: bool = False
    method: str = "GET"
    body: str = ""
    header: dict[str, list[str]] = {}
    response_headers: dict[str, list[str]] = {}
    response_header_timeout: str | int = ""
    error_response_status: int = 0
    timeout_response_status: int = 0


@dataclass(frozen=True, slots=True)
class _Fetch:
    url: str
    redirects: bool
    headers: Headers
    first: Headers
    timeout_s: float
    error_status: int = 0
    timeout_status: int = 0


class OrderedStatus(BackendFault):
    """The status that the order wants for a host that does not answer."""

    kind = "url-failed"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class UrlSenders:
    """Both senders of one backend."""

    def __init__(self, hosts: Sequence[str], pools: PinnedPools, timeout_s: float) -> None:
        """`hosts`: "HOST", "HOST:PORT" or "*.DOMAIN"."""
        self._hosts = frozenset(host.lower() for host in hosts)
        self._pools = pools
        self._timeout_s = timeout_s

    def by_kind(self) -> dict[str, Sender]:
        """As a registry wants them."""
        return {"url": self.send, "send-url": self.send_as_workhorse}

    async def send(self, delivery: Delivery) -> None:
        """See Sender."""
        order = delivery.parse(Url)
        headers = _fields({name: [value] for name, value in order.headers.items()})
        first = _fields({name: [value] for name, value in order.response_headers.items()})
        await self._fetch(
            delivery, _Fetch(order.url, order.redirects, headers, first, self._timeout_s)
        )

    async def send_as_workhorse(self, delivery: Delivery) -> None:
        """See Sender."""
        order = delivery.parse(Workhorse)
        if order.method not in ("", *_METHODS) or order.body:
            raise BadOrder("send-url: only GET without a body is sent")
        await self._fetch(
            delivery,
            _Fetch(
                order.url,
                order.allow_redirects,
                _fields(order.header),
                _fields(order.response_headers),
                _seconds(order.response_header_timeout, self._timeout_s),
                _status(order.error_response_status),
                _status(order.timeout_response_status),
            ),
        )

    async def read(self, url: str, start: int, length: int) -> tuple[bytes, int]:
        """Bytes of what is there, and how many there are in all.

        Raises BadOrder, NothingToSend, BackendFault.
        """
        asked_for = [(b"Range", b"bytes=%d-%d" % (start, start + length - 1))]
        stream = await self._open("GET", url, asked_for, self._timeout_s)
        async with opened_stream(stream):
            total = (stream.header(b"content-range") or b"").rpartition(b"/")[2]
            if stream.status == 404:
                raise NothingToSend("nothing at the URL")
            if stream.status != 206 or not total.isdigit():
                raise BadOrder(f"a URL of which no range can be had: {stream.status}")
            data = bytearray()
            async for piece in stream.pieces():
                data += piece
                if len(data) > length:
                    raise BadOrder("a URL that gives more than the range")
        return bytes(data), int(total)

    async def _fetch(self, delivery: Delivery, fetch: _Fetch) -> None:
        url = fetch.url
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with opened_stream(await self._stream(delivery, url, fetch)) as stream:
                    target = stream.header(b"location") if stream.status in _REDIRECTS else None
                    if target is None or not fetch.redirects:
                        await relay(delivery, stream, first=fetch.first, ours=_CACHING)
                        return
                url = urljoin(url, target.decode("latin-1"))
        except BadOrder:
            raise
        except BackendFault as fault:
            raise _as_ordered(fault, fetch) from fault
        raise BadOrder("a URL with too many redirects")

    async def _stream(self, delivery: Delivery, url: str, fetch: _Fetch) -> Stream:
        method = "HEAD" if delivery.is_head else "GET"
        headers = [*asked(delivery), *fetch.headers]
        return await self._open(method, url, headers, fetch.timeout_s)

    async def _open(self, method: str, url: str, headers: Headers, timeout_s: float) -> Stream:
        """Raises BadOrder for a URL that may not be asked, and what the resolution raises."""
        try:
            origin = self._judged(url)
            target = target_of(url)
            pool = await self._pools.pool(origin)
            return Stream(pool, method, target, origin.host_header, headers, timeout_s)
        except ValueError as error:
            raise BadOrder("a URL that cannot be spoken to") from error

    def _judged(self, url: str) -> Origin:
        """Raises BadOrder, ValueError."""
        if url.startswith("unix:") or any(byte <= " " or byte > "~" for byte in url):
            raise BadOrder("a URL that is none")
        origin = parse_origin(url)
        if "@" in urlsplit(url).netloc or not self._is_listed(origin):
            raise BadOrder(f"a URL of a host that is not configured: {origin.host[:200]!r}")
        return origin

    def _is_listed(self, origin: Origin) -> bool:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        is_default = origin.port == (443 if origin.is_tls else 80)
        _, dot, domain = host.partition(".")
        names = {f"{host}:{origin.port}"}
        if is_default:
            names |= {host, f"*.{domain}" if dot else ""}
        return not names.isdisjoint(self._hosts)


# They say how long clients may keep it, which is the backend's to say.
_CACHING: Final = frozenset({b"cache-control", b"expires", b"date", b"pragma"})


def _fields(headers: dict[str, list[str]]) -> Headers:
    """Raises BadOrder."""
    try:
        fields = [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, values in headers.items()
            for value in values
        ]
    except UnicodeEncodeError:
        raise BadOrder("a header that is none") from None
    if any(name.lower() in _NOT_OURS for name, _ in fields):
        raise BadOrder("a header that is not the order's to set")
    return fields


def _seconds(text: str | int, limit_s: float) -> float:
    """A duration as Go writes it, or its nanoseconds; at most `limit_s`. Raises BadOrder."""
    if isinstance(text, int):
        return min(text / 1e9, limit_s) if text > 0 else limit_s
    if not text:
        return limit_s
    match = _DURATION(text)
    if match is None:
        raise BadOrder("a duration that is none")
    return min(float(match[1]) * _SECONDS[match[2]], limit_s)


def _status(status: int) -> int:
    if status and not 400 <= status <= 599:
        raise BadOrder("a status that is no error")
    return status


def _as_ordered(fault: BackendFault, fetch: _Fetch) -> FastproxyError:
    status = fetch.timeout_status if is_timeout(fault) else 0
    status = status or fetch.error_status
    return OrderedStatus(status, fault.detail) if status else fault
