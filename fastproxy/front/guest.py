"""Who comes through a listener: what was agreed on before the first request."""

from msgspec import Struct


class Guest(Struct, frozen=True):
    """`ip`: as a trusted balancer or the kernel says, empty for a unix socket's peer.

    `scheme`: of the requests, unless a trusted proxy says otherwise. `subject`: of the certificate
    that the client has proved to hold (RFC 4514); empty: none was asked for.
    """

    ip: str
    scheme: bytes = b"http"
    subject: bytes = b""
