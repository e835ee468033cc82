"""What is asked of another host, whoever's words ordered it, and how redirects change it."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from fastproxy.errors import BadOrder
from fastproxy.message import Headers
from fastproxy.upstream.pinned import Network

_READS: Final = frozenset({"", "GET", "HEAD"})
# What would let an order speak for the client's connection or ours.
_NOT_OURS: Final = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te",
})  # fmt: skip
# Not for another host than the one that the order gave them for, however it is reached.
_CREDENTIALS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_OF_THE_BODY: Final = frozenset({
    b"content-type", b"content-encoding", b"content-language", b"content-location",
})  # fmt: skip


class Exempt(Struct, frozen=True):
    """What of our networks an order leaves that wants public addresses alone."""

    networks: Sequence[Network] = ()
    hosts: frozenset[str] = frozenset()

    def among(self, ours: Sequence[Network], host: str) -> Sequence[Network]:
        """Networks besides the public ones in which `host` may be."""
        if host.lower() in self.hosts:
            return ours
        both = (_common(one, other) for one in ours for other in self.networks)
        return [network for network in both if network is not None]


class Fetch(Struct, frozen=True):
    """What is asked of a host, and what of its answer is passed on.

    `method` "": the client's, GET or HEAD. `first`: fields before the host's; `passed`: names of
    the host's fields, None: the usual ones. `exempt` None: all networks of the configuration.
    Seconds None: the configuration's. Statuses 0: the fault's own.
    """

    url: str
    method: str = ""
    body: bytes = b""
    headers: Headers = ()  # type: ignore[assignment] # an empty tuple has nothing to change
    redirects: bool = False
    first: Headers = ()  # type: ignore[assignment]
    passed: frozenset[bytes] | None = None
    exempt: Exempt | None = None
    connect_timeout_s: float | None = None
    header_timeout_s: float | None = None
    error_status: int = 0
    timeout_status: int = 0

    @property
    def reads(self) -> bool:
        """Whether it asks for what there is, so that ranges and conditions mean something."""
        return self.method in _READS

    def redirected(self, status: int, location: bytes) -> "Fetch":
        """What to ask next (RFC 9110 section 15.4). Raises ValueError for no URL.

        307 and 308 want the same once more; the others a GET, as of browsers.
        """
        url = urljoin(self.url, location.decode("latin-1"))
        method, body, dropped = self.method, self.body, frozenset[bytes]()
        if not self.reads and status not in (307, 308):
            method, body, dropped = "GET", b"", _OF_THE_BODY
        if urlsplit(self.url)[:2] != urlsplit(url)[:2]:
            dropped |= _CREDENTIALS
        headers = [field for field in self.headers if field[0].lower() not in dropped]
        return replace(self, url=url, method=method, body=body, headers=headers)


def checked(fetch: Fetch) -> Fetch:
    """What an order said. Raises BadOrder."""
    if fetch.body and fetch.reads:
        raise BadOrder("a body goes with a method that takes one")
    for status in (fetch.error_status, fetch.timeout_status):
        if status and not 400 <= status <= 599:
            raise BadOrder("a status that is no error")
    return fetch


def fields_of(headers: dict[str, list[str]]) -> Headers:
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


def _common(one: Network, other: Network) -> Network | None:
    """The network that is in both, if there is one."""
    if one.version != other.version or not one.overlaps(other):
        return None
    return max(one, other, key=lambda network: network.prefixlen)
