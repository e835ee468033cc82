"""The PROXY protocol: conformance cases, and any split of what is sent."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BadPreface
from fastproxy.wire.preface import MAX_BYTES, Preface, parse_preface

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
UNIX = b"/run/a".ljust(108, b"\0") * 2


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def inet(source: str, destination: str = "198.51.100.1") -> bytes:
    hosts = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return hosts + struct.pack("!HH", 56324, 443)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


LONGEST = b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
    b"ffff:f...f:ffff", b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
)

GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n": "192.0.2.7",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": "255.255.255.255",
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": "0.0.0.0",
    b"PROXY TCP6 2001:db8::7 2001:DB8::1 56324 443\r\n": "2001:db8::7",
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n": "192.0.2.7",
    LONGEST: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 some thing\r\n": "",
    v2(0x21, 0x11, inet("192.0.2.7")): "192.0.2.7",
    v2(0x21, 0x21, inet("2001:db8::7", "::1")): "2001:db8::7",
    v2(0x21, 0x21, inet("::ffff:192.0.2.7", "::1")): "192.0.2.7",
    v2(0x21, 0x31, UNIX): "",
    v2(0x21, 0x00, b""): "",
    v2(0x21, 0x00, tlv(4, b"")): "",
    v2(0x20, 0x00, b""): "",
    v2(0x20, 0x11, inet("192.0.2.7")): "",
    v2(0x20, 0xFF, b"whatever"): "",
    v2(0x21, 0x11, inet("192.0.2.7") + tlv(2, b"example.com") + tlv(4, bytes(9))): "192.0.2.7",
    v2(0x21, 0x11, inet("192.0.2.7") + tlv(4, bytes(MAX_BYTES - 16 - 12 - 3))): "192.0.2.7",
}

BAD = (
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\r\n\r\nGET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY\tTCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.7 example.com 56324 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 \xb2 443\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
    b"PROXY UNKNOWN \xff\r\n",
    b"PROXY UNKNOWN" + b"x" * 93 + b"\r\n",  # 108 bytes
    b"PROXY UNKNOWN" + b"x" * 200,
    v2(0x11, 0x11, inet("192.0.2.7")),  # version 1 in a head of version 2
    v2(0x22, 0x11, inet("192.0.2.7")),
    v2(0x21, 0x12, inet("192.0.2.7")),  # UDP over a stream
    v2(0x21, 0x10, inet("192.0.2.7")),
    v2(0x21, 0x41, inet("192.0.2.7")),
    v2(0x21, 0x11, inet("192.0.2.7")[:-1]),
    v2(0x21, 0x21, inet("192.0.2.7")),
    v2(0x21, 0x31, UNIX[:-1]),
    v2(0x21, 0x11, inet("192.0.2.7") + b"\x04"),
    v2(0x21, 0x11, inet("192.0.2.7") + b"\x04\x00\x02x"),
    v2(0x21, 0x11, inet("192.0.2.7") + tlv(4, bytes(MAX_BYTES))),
)


@pytest.mark.parametrize(("raw", "source"), GOOD.items())
def test_what_is_well_formed_says_who_the_client_is(raw: bytes, source: str) -> None:
    assert parse_preface(raw) == Preface(len(raw), source)


@pytest.mark.parametrize("raw", BAD)
def test_what_is_not_well_formed_is_refused(raw: bytes) -> None:
    with pytest.raises(BadPreface):
        parse_preface(raw)


@pytest.mark.parametrize("raw", GOOD)
def test_no_beginning_is_taken_for_the_whole_nor_refused(raw: bytes) -> None:
    assert {parse_preface(raw[:size]) for size in range(len(raw))} == {None}


@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=200))
def test_what_follows_the_preface_is_none_of_it(raw: bytes, rest: bytes) -> None:
    assert parse_preface(raw + rest) == Preface(len(raw), GOOD[raw])


@given(st.sampled_from([*GOOD, *BAD]), st.data())
def test_a_verdict_never_changes_with_more_bytes(raw: bytes, data: st.DataObject) -> None:
    """Cut anywhere: once it is refused or taken, what comes later makes no difference."""
    cut = data.draw(st.integers(0, len(raw)))
    early, late = verdict(raw[:cut]), verdict(raw)
    assert early in (None, late)


@given(st.binary(max_size=300))
def test_anything_is_refused_taken_or_waited_for_within_bounds(raw: bytes) -> None:
    for start in (raw, b"PROXY " + raw, SIGNATURE + raw):
        found = verdict(start)
        if isinstance(found, Preface):
            assert len(start) >= found.size
            assert not found.source or ipaddress.ip_address(found.source)
        if found is None:
            assert len(start) < MAX_BYTES


@given(
    st.ip_addresses(),
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50))),
)
def test_both_versions_say_the_same(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    extensions: list[tuple[int, bytes]],
) -> None:
    kind, family = (b"TCP4", 0x11) if source.version == 4 else (b"TCP6", 0x21)
    word = str(source).encode()
    line = b"PROXY %b %b %b %d %d\r\n" % (kind, word, word, port, port)
    payload = source.packed * 2 + struct.pack("!HH", port, port)
    binary = v2(0x21, family, payload + b"".join(tlv(*each) for each in extensions))
    text, packed = parse_preface(line), parse_preface(binary)
    assert text is not None
    assert packed is not None
    assert text.source == packed.source
    assert (text.size, packed.size) == (len(line), len(binary))


def verdict(raw: bytes) -> Preface | type[BadPreface] | None:
    try:
        return parse_preface(raw)
    except BadPreface:
        return BadPreface
