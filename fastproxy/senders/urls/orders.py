"""Orders for what other hosts have, read: ours, and GitLab's `send-url` in Workhorse's words.

A field that is not known is an error, as it may be a restriction.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from fastproxy.errors import BadOrder
from fastproxy.senders.urls.fetch import Exempt, Fetch, checked, fields_of
from fastproxy.upstream.pinned import Network

Method = Literal["", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

_TERM: Final = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)"
_DURATION: Final = re.compile(f"(?:{_TERM})+").fullmatch
_terms = re.compile(_TERM).findall
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_OWN_MACHINE: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class Url(msgspec.Struct, forbid_unknown_fields=True):
    """Ours; docs/takeover.md describes each field."""

    url: str
    method: Method = ""
    body: str = ""
    headers: dict[str, str] = {}
    redirects: bool = False
    response_headers: dict[str, str] = {}
    pass_headers: list[str] | None = None
    public_only: bool = False
    connect_timeout: Seconds | None = None
    header_timeout: Seconds | None = None
    error_status: int = 0
    timeout_status: int = 0


class Restriction(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """Which fields of the host's answer are passed on."""

    enabled: bool = False
    allow_list: list[str] | None = None


class Workhorse(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """GitLab's. `AllowedURIs` is the older name of `AllowedEndpoints`."""

    url: str = msgspec.field(name="URL")
    method: Method = ""
    body: str = ""
    header: dict[str, list[str]] | None = None
    allow_redirects: bool = False
    response_headers: dict[str, list[str]] | None = None
    restrict_forwarded_response_headers: Restriction | None = None
    ssrf_filter: bool = msgspec.field(name="SSRFFilter", default=False)
    allow_localhost: bool = False
    allowed_endpoints: list[str] | None = None
    allowed_uris: list[str] | None = msgspec.field(name="AllowedURIs", default=None)
    dial_timeout: str = ""
    response_header_timeout: str = ""
    error_response_status: int = 0
    timeout_response_status: int = 0


def fetch_of(order: Url) -> Fetch:
    """Raises BadOrder."""
    passed = None if order.pass_headers is None else _names(order.pass_headers)
    return checked(
        Fetch(
            url=order.url,
            method=order.method,
            body=order.body.encode(),
            headers=fields_of({name: [value] for name, value in order.headers.items()}),
            redirects=order.redirects,
            first=fields_of({name: [value] for name, value in order.response_headers.items()}),
            passed=passed,
            exempt=Exempt() if order.public_only else None,
            connect_timeout_s=order.connect_timeout,
            header_timeout_s=order.header_timeout,
            error_status=order.error_status,
            timeout_status=order.timeout_status,
        )
    )


def fetch_as_workhorse(order: Workhorse) -> Fetch:
    """Raises BadOrder."""
    restriction = order.restrict_forwarded_response_headers or Restriction()
    return checked(
        Fetch(
            url=order.url,
            method=order.method or "GET",
            body=order.body.encode(),
            headers=fields_of(order.header or {}),
            redirects=order.allow_redirects,
            first=fields_of(order.response_headers or {}),
            passed=_names(restriction.allow_list or []) if restriction.enabled else None,
            exempt=_exempt(order) if order.ssrf_filter else None,
            connect_timeout_s=seconds(order.dial_timeout),
            header_timeout_s=seconds(order.response_header_timeout),
            error_status=order.error_response_status,
            timeout_status=order.timeout_response_status,
        )
    )


def _names(names: Sequence[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in names)


def _exempt(order: Workhorse) -> Exempt:
    networks: list[Network] = list(_OWN_MACHINE) if order.allow_localhost else []
    hosts: set[str] = set()
    for endpoint in order.allowed_endpoints or order.allowed_uris or []:
        host = _host_of(endpoint)
        try:
            networks.append(ipaddress.ip_network(host))
        except ValueError:
            hosts.add(host.lower())
    return Exempt(networks, frozenset(hosts))


def _host_of(endpoint: str) -> str:
    """Of a URL, HOST:PORT, a host, an address or a network."""
    if "://" not in endpoint and endpoint.count(":") > 1 and not endpoint.startswith("["):
        return endpoint  # IPv6
    if "://" not in endpoint and "/" in endpoint:
        return endpoint  # a network
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname or ""
    except ValueError:
        raise BadOrder("an endpoint that is none") from None


def seconds(text: str) -> float | None:
    """A duration as Go writes it; None for nothing. Raises BadOrder."""
    if text in ("", "0"):
        return None
    if _DURATION(text) is None:
        raise BadOrder("a duration that is none")
    return sum(float(number) * _SECONDS[unit] for number, unit in _terms(text)) or None
