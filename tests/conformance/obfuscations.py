"""Spellings of what frames a body, made by rule: every odd byte in every place, and every list.

The expectation comes from the grammar, not from what we do: a byte that leaves the name a token
makes another field of it, which frames nothing; any other makes the head no head (RFC 9110
sections 5.6.2 and 8.6, RFC 9112 sections 5 to 7).
"""

import itertools
import string
from collections.abc import Callable, Iterator

from tests.conformance.cases import Case, Forward
from tests.conformance.responses import ResponseCase

_TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
_HIGH = b"\x80\x85\x9f\xa0\xad\xb2\xb5\xc0\xe2\xfe\xff"
_PUNCTUATION = string.punctuation.encode()
ODD_BYTES = [bytes([byte]) for byte in (*range(33), 127, *_HIGH, *_PUNCTUATION)]
_CODINGS = ("chunked", "identity", "gzip", "x", "", '"chunked"', "xchunked", "chunked;q=1")
_SEPARATORS = (",", ", ", " , ", "\t,", ";", " ", ",,")
_LENGTHS = ("5", "05", "6", "+5", "-5", "", "5.0", "5e0", "0x5", "five")
_HOST = b"POST /p/$ID HTTP/1.1\r\nHost: h\r\n"
_HIDDEN = b"0\r\n\r\nGET /smuggled/$ID HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n"
_NEXT = b"GET /p/$ID/2 HTTP/1.1\r\nHost: h\r\n\r\n"


def _shown(byte: bytes) -> str:
    return f"0x{byte[0]:02x}"


# -- names -------------------------------------------------------------------------------------


def _names(name: bytes, byte: bytes) -> Iterator[tuple[str, bytes]]:
    """`name` and its colon with one byte more, and where it is."""
    middle = name.index(b"-")
    yield "before the name", byte + name + b":"
    yield "in the name", name[:middle] + byte + name[middle:] + b":"
    yield "behind the name", name + byte + b":"


def _field_of(line: bytes) -> str | None:
    """How the backend must see a field; "" when it must not. None: it is none."""
    name, _, value = line.partition(b":")
    if not name or name.strip(_TOKEN):
        return None
    return "" if b"_" in name else f"{name.decode()}: {value.strip().decode('latin-1')}"


def _misnamed_codings() -> Iterator[Case]:
    """With a length, so that who believes the coding sees another request in the body."""
    for byte in ODD_BYTES:
        for place, name in _names(b"Transfer-Encoding", byte):
            line = name + b" chunked"
            send = b"%bContent-Length: %d\r\n%b\r\n\r\n%b" % (_HOST, len(_HIDDEN), line, _HIDDEN)
            title = f"Transfer-Encoding, {_shown(byte)} {place}"
            field = _field_of(line)
            if field is None or field.startswith("Transfer-Encoding:"):
                yield Case(2, title, send, refuse=(400,))
                continue
            body = _HIDDEN.decode()
            fields = (field,) if field else ()
            yield Case(
                2, title, send, (Forward("POST", framing="length", body=body, fields=fields),)
            )


def _misnamed_lengths() -> Iterator[Case]:
    """What is no length frames no body, and what follows the head is the next request."""
    for byte in ODD_BYTES:
        for place, name in _names(b"Content-Length", byte):
            line = b"%b %d" % (name, len(_NEXT))
            send = b"%b%b\r\n\r\n%b" % (_HOST, line, _NEXT)
            title = f"Content-Length, {_shown(byte)} {place}"
            field = _field_of(line)
            if field is None or field.startswith("Content-Length:"):
                yield Case(4, title, send, refuse=(400,))
                continue
            first = Forward("POST", fields=(field,) if field else ())
            yield Case(4, title, send, (first, Forward(target="/p/$ID/2")))


# -- values ------------------------------------------------------------------------------------


def _values(value: bytes, byte: bytes) -> Iterator[tuple[str, bytes]]:
    middle = len(value) // 2
    yield "behind the colon", byte + value
    yield "before the value", b" " + byte + value
    yield "in the value", b" " + value[:middle] + byte + value[middle:]
    yield "behind the value", b" " + value + byte


def _is_blank(byte: bytes, place: str) -> bool:
    """Blanks around a value are not part of it; what of them llhttp does not take is refused."""
    return place != "in the value" and byte in b" \t"


def _odd_codings() -> Iterator[Case]:
    whole = Forward("POST", framing="chunked", body="abc")
    for byte in ODD_BYTES:
        for place, value in _values(b"chunked", byte):
            send = b"%bTransfer-Encoding:%b\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % (_HOST, value)
            title = f"Transfer-Encoding, {_shown(byte)} {place}"
            if _is_blank(byte, place) and value != b" chunked\t":
                yield Case(2, title, send, (whole,))
            else:
                yield Case(2, title, send, refuse=(400,))


def _odd_lengths() -> Iterator[Case]:
    whole = Forward("POST", framing="length", body="0123456789")
    for byte in ODD_BYTES:
        for place, value in _values(b"10", byte):
            send = b"%bContent-Length:%b\r\n\r\n0123456789" % (_HOST, value)
            title = f"Content-Length, {_shown(byte)} {place}"
            if _is_blank(byte, place):
                yield Case(4, title, send, (whole,))
            else:
                yield Case(4, title, send, refuse=(400,))


def _odd_sizes() -> Iterator[Case]:
    """Of a chunk: nothing may stand around its digits but an extension behind them."""
    body = "0123456789abcdef"
    for byte in ODD_BYTES:
        places = {"before": byte + b"10", "in": b"1" + byte + b"0", "behind": b"10" + byte}
        for place, size in places.items():
            send = b"%bTransfer-Encoding: chunked\r\n\r\n%b\r\n%b\r\n0\r\n\r\n"
            send %= (_HOST, size, body.encode())
            title = f"size, {_shown(byte)} {place} it"
            if size == b"10;":
                yield Case(5, title, send, (Forward("POST", framing="chunked", body=body),))
            else:
                yield Case(5, title, send, refuse=(400,))


# -- lists and repetitions ---------------------------------------------------------------------


def _coding_lists() -> Iterator[Case]:
    end = b"\r\n\r\n0\r\n\r\n"
    for first, second in itertools.product(_CODINGS, repeat=2):
        two = f"Transfer-Encoding: {first}\r\nTransfer-Encoding: {second}".encode()
        yield Case(2, f"codings {first!r}, again {second!r}", _HOST + two + end, refuse=(400,))
        for separator in _SEPARATORS:
            if (first + separator + second).strip(" ") == "chunked":
                continue
            one = f"Transfer-Encoding: {first}{separator}{second}".encode()
            yield Case(
                2, f"codings {first + separator + second!r}", _HOST + one + end, refuse=(400,)
            )


def _length_lists() -> Iterator[Case]:
    end = b"\r\n\r\nhello"
    for first, second in itertools.product(_LENGTHS, repeat=2):
        two = f"Content-Length: {first}\r\nContent-Length: {second}".encode()
        yield Case(4, f"lengths {first!r}, again {second!r}", _HOST + two + end, refuse=(400,))
        one = f"Content-Length: {first}, {second}".encode()
        yield Case(4, f"lengths {first!r} and {second!r}", _HOST + one + end, refuse=(400,))


def _kind(make: Callable[[], Iterator[Case]]) -> str:
    """The name of what makes them: "odd codings"."""
    return make.__name__.strip("_").replace("_", " ")


_MAKERS = (
    _misnamed_codings,
    _misnamed_lengths,
    _odd_codings,
    _odd_lengths,
    _odd_sizes,
    _coding_lists,
    _length_lists,
)
GENERATED: dict[str, list[Case]] = {_kind(make): list(make()) for make in _MAKERS}


# -- answers -----------------------------------------------------------------------------------


def _odd_responses() -> Iterator[ResponseCase]:
    chunks = b"3\r\nabc\r\n0\r\n\r\n"
    for byte in ODD_BYTES:
        for place, value in _values(b"chunked", byte):
            title = f"Transfer-Encoding, {_shown(byte)} {place}"
            send = b"HTTP/1.1 200 OK\r\nTransfer-Encoding:%b\r\n\r\n%b" % (value, chunks)
            yield _response(title, send, b"abc" if _is_blank(byte, place) else None)
        for place, value in _values(b"10", byte):
            title = f"Content-Length, {_shown(byte)} {place}"
            send = b"HTTP/1.1 200 OK\r\nContent-Length:%b\r\n\r\n0123456789" % value
            yield _response(title, send, b"0123456789" if _is_blank(byte, place) else None)
        for place, name in _names(b"Transfer-Encoding", byte):
            title = f"Transfer-Encoding, {_shown(byte)} {place}"
            line = name + b" chunked"
            field = _field_of(line)
            is_fine = field is not None and not field.startswith("Transfer-Encoding:")
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n\r\n" % (len(chunks), line)
            yield _response(title, head + chunks, chunks if is_fine else None)


def _response(title: str, send: bytes, body: bytes | None) -> ResponseCase:
    if body is None:
        return ResponseCase(23, title, send)
    return ResponseCase(23, title, send, 200, body, pooled=True)


ODD_RESPONSES = list(_odd_responses())
