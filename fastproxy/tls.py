"""TLS towards clients: what a listener shows them, by the name they ask for, and its renewal.

Certificates are looked at again while connections live: who is connected keeps what was agreed on,
the next handshake gets the new one. What cannot be used never replaces what can.
"""

import logging
import os
import ssl
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

log = logging.getLogger(__name__)

# Forward secrecy and authenticated encryption only; of TLS 1.3 there is nothing else.
_TLS12_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
Stamp = tuple[tuple[int, int, int], ...]


class CertificateFiles(Struct, frozen=True):
    """PEM files. `cert`: the certificate, then those that lead to its authority."""

    cert: str
    key: str


def describe(cert_file: str) -> dict[str, Any]:
    """Its first certificate as ssl.SSLSocket.getpeercert has it. Raises OSError, ssl.SSLError."""
    # For thirty releases the one way of the standard library to look into a certificate of ours.
    found: dict[str, Any] = ssl._ssl._test_decode_cert(cert_file)  # type: ignore[attr-defined]  # noqa: SLF001
    return found


def names_of(cert_file: str) -> list[str]:
    """The DNS names a certificate is for, in lower case. Raises OSError, ssl.SSLError."""
    names = describe(cert_file).get("subjectAltName", ())
    return [value.lower() for kind, value in names if kind == "DNS"]


def server_context(files: CertificateFiles, client_ca_file: str = "") -> ssl.SSLContext:
    """`client_ca_file`: clients must show a certificate of its authorities. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.cert, files.key or None, _no_password)
    if client_ca_file:
        context.load_verify_locations(client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        # A ticket would let in whom the authorities of today no longer know.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _no_password() -> str:
    """Instead of asking whoever sits at the terminal. Raises OSError."""
    raise OSError("the key is encrypted")


class Certificates:
    """Those of one listener; the first is for clients that name none, or another."""

    def __init__(self, files: Sequence[CertificateFiles], client_ca_file: str = "") -> None:
        """Raises OSError (of which ssl.SSLError is one)."""
        self._files = files
        self._client_ca_file = client_ca_file
        self._stamp = self._look()
        self._load()

    @property
    def asks_clients(self) -> bool:
        """Whether clients must show one, too."""
        return bool(self._client_ca_file)

    def accept(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The server's side of a new connection."""
        return self._default.wrap_bio(incoming, outgoing, server_side=True)

    def refresh(self) -> bool:
        """Load what has changed; whether anything was. Keeps what it has if that fails."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp  # so that what is wrong is said once
        try:
            self._load()
        except OSError as error:
            log.error("changed certificates cannot be used, the former stay: %s", error)
            return False
        log.info("certificates renewed", extra={"files": [each.cert for each in self._files]})
        return True

    def _load(self) -> None:
        contexts = [server_context(each, self._client_ca_file) for each in self._files]
        by_name: dict[str, ssl.SSLContext] = {}
        for files, context in zip(self._files, contexts, strict=True):
            for name in names_of(files.cert):
                by_name.setdefault(name, context)
        self._by_name = by_name
        self._default = contexts[0]
        if len(contexts) > 1:
            self._default.sni_callback = self._choose

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """RFC 6066 section 3; a wildcard stands for one label (RFC 6125 section 6.4.3)."""
        wanted = (name or "").lower()
        wildcard = "*." + wanted.partition(".")[2]
        chosen = self._by_name.get(wanted) or self._by_name.get(wildcard) or self._default
        if chosen is not self._default:  # to set it costs much, also when it is the same
            tls.context = chosen

    def _look(self) -> Stamp:
        paths = [path for each in self._files for path in (each.cert, each.key)]
        return tuple(_stamp_of(path) for path in (*paths, self._client_ca_file) if path)


def _stamp_of(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


_ESCAPED: Final = frozenset(b',+"\\<>;=#')


def subject_of(tls: ssl.SSLObject) -> bytes:
    """The subject of the peer's verified certificate, as text (RFC 4514); empty without one."""
    found = tls.getpeercert()
    if not found:
        return b""
    names: Any = found.get("subject", ())
    parts = [b"+".join(b"%b=%b" % (_short(k), _escape(v)) for k, v in rdn) for rdn in names]
    return b",".join(reversed(parts))


def _short(kind: str) -> bytes:
    return _SHORT_NAMES.get(kind, kind).encode("ascii")


_SHORT_NAMES: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}


def _escape(value: str) -> bytes:
    """Printable ASCII as it is, all else as pairs of hex digits: nothing can end a field line."""
    plain = (byte if 32 < byte < 127 and byte not in _ESCAPED else None for byte in value.encode())
    return b"".join(
        b"\\%02X" % raw if byte is None else bytes((byte,))
        for raw, byte in zip(value.encode(), plain, strict=True)
    )
