"""What of git's smart HTTP protocol (gitprotocol-http(5)) a request is, and how git is asked it."""

import re
from typing import Final
from urllib.parse import parse_qs

from msgspec import Struct

from fastproxy.exchange import Exchange
from fastproxy.git.permission import Operation

_OPERATIONS: Final[dict[str, Operation]] = {"git-upload-pack": "fetch", "git-receive-pack": "push"}
_version_of = re.compile(rb"(?:.*:)?(version=[0-2])(?::.*)?").fullmatch


class ServiceRequest(Struct, frozen=True):
    """What a git client wants: `service` with a question, or first the refs it is about."""

    service: str
    is_refs: bool

    @property
    def operation(self) -> Operation:
        """As a backend allows it."""
        return _OPERATIONS[self.service]

    @property
    def has_pack(self) -> bool:
        """Whether the question is as large as a repository may be."""
        return self.operation == "push" and not self.is_refs

    @property
    def content_type(self) -> bytes:
        """Of the answer."""
        kind = "advertisement" if self.is_refs else "result"
        return f"application/x-{self.service}-{kind}".encode()

    def version(self, said: bytes | None) -> str:
        """What git is told of the Git-Protocol of a client: a version it may speak, if any."""
        found = _version_of(said or b"")
        version = found[1].decode("ascii") if found else ""
        return "" if self.operation == "push" and version == "version=2" else version

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of git, in the repository."""
        refs = ("--advertise-refs",) if self.is_refs else ()
        strict = ("--strict",) if self.operation == "fetch" else ()
        return (self.service.removeprefix("git-"), "--stateless-rpc", *refs, *strict, ".")

    def preface(self, version: str) -> bytes:
        """Which service answers, as a pkt-line, then a flush-pkt (gitprotocol-http(5))."""
        if not self.is_refs or version == "version=2":
            return b""
        line = f"# service={self.service}\n"
        return f"{len(line) + 4:04x}{line}0000".encode()


def service_request_of(exchange: Exchange) -> ServiceRequest | None:
    """None: this is not the smart protocol."""
    head = exchange.head
    directory, _, name = exchange.path.rpartition("/")
    if head.method == b"GET" and name == "refs" and directory.endswith("/info"):
        query = head.target.partition(b"?")[2].decode("latin-1")
        services = parse_qs(query).get("service", [])
        if len(services) == 1 and services[0] in _OPERATIONS:
            return ServiceRequest(services[0], is_refs=True)
    if head.method == b"POST" and name in _OPERATIONS:
        content_type = (head.header(b"content-type") or b"").strip().lower()
        if content_type == f"application/x-{name}-request".encode():
            return ServiceRequest(name, is_refs=False)
    return None
