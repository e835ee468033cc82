"""What other hosts have, in a backend's place: only hosts that are configured, at addresses that
were judged, and no redirect that the order does not allow (SSRF)."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from fastproxy.errors import (
    BackendFault,
    BadOrder,
    FastproxyError,
    NothingToSend,
    StoreMismatch,
)
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.relay import (
    asked,
    is_of_another_version,
    is_timeout,
    opened_stream,
    relay,
    without_range,
)
from fastproxy.senders.urls.fetch import Fetch
from fastproxy.senders.urls.orders import Url, Workhorse, fetch_as_workhorse, fetch_of
from fastproxy.storage.contract import Excerpt
from fastproxy.storage.sender import excerpt_of
from fastproxy.upstream.client import Answer
from fastproxy.upstream.origin import Origin, parse_origin, target_of
from fastproxy.upstream.pinned import PinnedPools
from fastproxy.upstream.pool import Pool
from fastproxy.upstream.stream import Question, Stream

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
# They say how long clients may keep it, which is the backend's to say.
_CACHING: Final = frozenset({b"cache-control", b"expires", b"date", b"pragma"})


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
        await self._fetch(delivery, fetch_of(delivery.parse(Url)))

    async def send_as_workhorse(self, delivery: Delivery) -> None:
        """See Sender."""
        await self._fetch(delivery, fetch_as_workhorse(delivery.parse(Workhorse)))

    async def read(self, url: str, start: int, length: int) -> Excerpt:
        """Bytes of what is there. Raises BadOrder, NothingToSend, BackendFault."""
        wanted = [(b"Range", b"bytes=%d-%d" % (start, start + length - 1))]
        stream = self._stream(Fetch(url, "GET", headers=wanted))
        data = bytearray()
        async with opened_stream(stream):
            if stream.status == 404:
                raise NothingToSend("nothing at the URL")
            if stream.status != 206:
                raise BadOrder(f"a URL of which no range can be had: {stream.status}")
            async for piece in stream.pieces():
                data += piece
                if len(data) > length:
                    raise BadOrder("a URL that gives more than the range")
        try:
            return excerpt_of(Answer(206, stream.headers, bytes(data)), start, length)
        except StoreMismatch as fault:
            raise BadOrder(f"a URL that gives another range: {fault.detail}") from fault

    async def _fetch(self, delivery: Delivery, fetch: Fetch) -> None:
        fetch = _of_client(delivery, fetch)
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with opened_stream(self._stream(fetch)) as stream:
                    if _is_clients(delivery, fetch) and is_of_another_version(
                        delivery.request, stream
                    ):
                        fetch = replace(fetch, headers=without_range(fetch.headers))
                        continue
                    target = stream.header(b"location") if stream.status in _REDIRECTS else None
                    if target is None or not fetch.redirects:
                        first, passed = fetch.first, fetch.passed
                        await relay(delivery, stream, first=first, ours=_CACHING, passed=passed)
                        return
                fetch = _redirected(fetch, stream.status, target)
        except BadOrder:
            raise
        except BackendFault as fault:
            raise _as_ordered(fault, fetch) from fault
        raise BadOrder("a URL with too many redirects")

    def _stream(self, fetch: Fetch) -> Stream:
        """Raises BadOrder for a URL that may not be asked."""
        limit_s = fetch.connect_timeout_s
        connect_by = None if limit_s is None else asyncio.get_running_loop().time() + limit_s
        try:
            origin = self._judged(fetch.url)
            question = Question(
                fetch.method,
                target_of(fetch.url),
                origin.host_header,
                fetch.headers,
                self._timeout_s,
                fetch.body,
                min(fetch.header_timeout_s or self._timeout_s, self._timeout_s),
                connect_by,
            )
            return Stream(self._pool(origin, fetch), question)
        except ValueError as error:
            raise BadOrder("a URL that cannot be spoken to") from error

    def _pool(self, origin: Origin, fetch: Fetch) -> Pool:
        ours = self._pools.allowed
        allowed = ours if fetch.exempt is None else fetch.exempt.among(ours, origin.host)
        return self._pools.pool(origin, allowed)

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


def _of_client(delivery: Delivery, fetch: Fetch) -> Fetch:
    """With what the client says of the bytes it wants, unless the order says that itself."""
    if not fetch.reads:
        return fetch
    method = fetch.method or ("HEAD" if delivery.is_head else "GET")
    return replace(fetch, method=method, headers=[*asked(delivery, fetch.headers), *fetch.headers])


def _is_clients(delivery: Delivery, fetch: Fetch) -> bool:
    """Whether it is the client who wants a range only of its own version."""
    wanted = delivery.request.header(b"if-range")
    return any(field[0].lower() == b"if-range" and field[1] == wanted for field in fetch.headers)


def _redirected(fetch: Fetch, status: int, location: bytes) -> Fetch:
    try:
        return fetch.redirected(status, location)
    except ValueError as error:
        raise BadOrder("a redirect to no URL") from error


def _as_ordered(fault: BackendFault, fetch: Fetch) -> FastproxyError:
    status = fetch.timeout_status if is_timeout(fault) else 0
    status = status or fetch.error_status
    return OrderedStatus(status, fault.detail) if status else fault
