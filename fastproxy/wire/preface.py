"""The PROXY protocol, versions 1 and 2: a balancer says first of all who its client is.

Source: "The PROXY protocol", W. Tarreau, HAProxy, https://www.haproxy.org/download/2.8/doc/.
Only what can be read in one way is taken; a sender that cannot speak it is not to be guessed at.
"""

import ipaddress
import struct
from typing import Final

from msgspec import Struct

from fastproxy.errors import BadPreface
from fastproxy.wire.addresses import unmapped

MAX_BYTES: Final = 4096  # version 2 allows 64 KiB; what is sent in practice has a tenth of this
_V1: Final = b"PROXY "
_V1_MAX: Final = 107  # section 2.1, with its CRLF
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class Preface(Struct, frozen=True):
    """`size`: its bytes. `source`: the client's address; empty: the sender speaks for itself."""

    size: int
    source: str


def parse_preface(raw: bytes) -> Preface | None:
    """The preface `raw` begins with; None when more bytes are needed. Raises BadPreface."""
    if raw.startswith(_V1):
        return _parse_v1(raw)
    if raw.startswith(_V2):
        return _parse_v2(raw)
    if _V1.startswith(raw) or _V2.startswith(raw):
        return None
    raise BadPreface("no PROXY preface")


def _parse_v1(raw: bytes) -> Preface | None:
    end = raw.find(b"\r\n", 0, _V1_MAX)
    if end < 0:
        if len(raw) >= _V1_MAX or b"\n" in raw:
            raise BadPreface("version 1: no end of line")
        return None
    line = raw[:end]
    if not line.isascii() or b"\r" in line or b"\n" in line:
        raise BadPreface("version 1: odd bytes")
    return Preface(end + 2, _v1_source(line.decode("ascii").split(" ")))


def _v1_source(words: list[str]) -> str:
    kind = words[1]
    if kind == "UNKNOWN":
        return ""
    if kind not in ("TCP4", "TCP6") or len(words) != 6:
        raise BadPreface("version 1: not TCP4, TCP6 or UNKNOWN with two addresses and two ports")
    version = 4 if kind == "TCP4" else 6
    source, _ = (_v1_address(word, version) for word in words[2:4])
    for port in words[4:]:
        if not port.isdigit() or str(int(port)) != port or int(port) > 65535:
            raise BadPreface("version 1: not a port")
    return source


def _v1_address(word: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        raise BadPreface("version 1: not an address") from None
    if address.version != version or "%" in word:
        raise BadPreface(f"version 1: not an address of TCP{version}")
    return str(unmapped(address))


def _parse_v2(raw: bytes) -> Preface | None:
    if len(raw) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(raw)
    size = _V2_HEAD.size + length
    if command not in (_LOCAL, _PROXY):
        raise BadPreface("version 2: unknown version or command")
    if size > MAX_BYTES:
        raise BadPreface(f"version 2: {size} bytes")
    if command == _PROXY and length < _ADDRESS_BYTES.get(family, length + 1):
        raise BadPreface("version 2: not a stream, or too short for its addresses")
    if len(raw) < size:
        return None
    if command == _LOCAL:
        return Preface(size, "")
    _check_extensions(raw[_V2_HEAD.size + _ADDRESS_BYTES[family] : size])
    return Preface(size, _v2_source(raw, family))


def _v2_source(raw: bytes, family: int) -> str:
    at = _V2_HEAD.size
    if family == _TCP4:
        return str(ipaddress.IPv4Address(raw[at : at + 4]))
    return str(unmapped(ipaddress.IPv6Address(raw[at : at + 16]))) if family == _TCP6 else ""


def _check_extensions(data: bytes) -> None:
    """They are not used, but must end where the preface ends (section 2.2.6)."""
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise BadPreface("version 2: torn extension")
        at += 3 + int.from_bytes(data[at + 1 : at + 3])
    if at != len(data):
        raise BadPreface("version 2: torn extension")
