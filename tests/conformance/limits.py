"""Heads at the edge of what is taken, and beyond (classes 16 and 20): too long to be written down.

In single pieces as well as whole: a limit counts what has come, not what was understood.
"""

from fastproxy.config.schema import Limits
from tests.conformance.cases import Case, Forward

_LIMITS = Limits()
_TARGET = _LIMITS.target_bytes
_HEAD = _LIMITS.header_bytes
_COUNT = _LIMITS.header_count
_TRAILERS = 8192
_HOST = b" HTTP/1.1\r\nHost: h\r\n"


def _target(size: int) -> str:
    return "/p/$ID/".ljust(size, "a")


def _long_target(size: int, refuse: int) -> Case:
    raw = b"GET %b%b\r\n" % (_target(size).encode(), _HOST)
    if refuse:
        return Case(16, f"a target of {size} bytes", raw, refuse=(refuse,))
    return Case(16, f"a target of {size} bytes", raw, (Forward(target=_target(size)),))


def _fields(count: int) -> bytes:
    return b"GET /p/$ID" + _HOST + b"A: b\r\n" * (count - 1)


def _head(size: int) -> bytes:
    """A head of that many bytes, its empty line not counted."""
    begin = b"GET /p/$ID" + _HOST + b"A: "
    return begin.ljust(size, b"b")


def _trailing(size: int) -> bytes:
    """A body without bytes, and one trailer of that size, its line end included."""
    head = b"POST /p/$ID%bTransfer-Encoding: chunked\r\n\r\n0\r\n" % _HOST
    return head + b"A: ".ljust(size - 2, b"b") + b"\r\n"


LIMIT_CASES = [
    _long_target(_TARGET, 0),
    _long_target(_TARGET + 1, 414),
    _long_target(_TARGET + 60, 414),
    _long_target(_HEAD + 100, 414),
    _long_target(65_536 + 8, 414),  # offsets of 16 bits would see "/p/$ID/a"
    Case(16, "a target that does not end", b"GET " + _target(_HEAD + 100).encode(), refuse=(414,)),
    Case(16, "a long query", b"GET /p/$ID?" + b"q" * _TARGET + _HOST + b"\r\n", refuse=(414,)),
    Case(20, "many fields", _fields(_COUNT - 5) + b"\r\n", (Forward(),)),
    Case(20, "too many fields", _fields(_COUNT + 1) + b"\r\n", refuse=(431,)),
    Case(20, "far too many fields", _fields(4000) + b"\r\n", refuse=(431,)),
    Case(20, "fields that do not end", _fields(8000), refuse=(431,)),
    Case(20, "a large head", _head(_HEAD) + b"\r\n\r\n", (Forward(),)),
    Case(20, "a head of one byte more", _head(_HEAD + 1) + b"\r\n\r\n", refuse=(431,)),
    Case(20, "a value that does not end", _head(_HEAD + 100), refuse=(431,)),
    Case(20, "a name that does not end", b"GET /p/$ID" + _HOST + b"A" * _HEAD, refuse=(431,)),
    Case(
        20,
        "trailers that do not end",
        b"POST /p/$ID%bTransfer-Encoding: chunked\r\n\r\n0\r\n%b" % (_HOST, b"A: b\r\n" * 2000),
        refuse=(400,),
    ),
    Case(
        20,
        "trailers that fill all their room",
        _trailing(_TRAILERS) + b"\r\n",
        (Forward(method="POST", framing="chunked"),),
    ),
    Case(
        20, "a trailer beyond all room", _trailing(_TRAILERS + 2) + b"A: b\r\n\r\n", refuse=(400,)
    ),
    Case(
        20,
        "an extension that does not end",
        b"POST /p/$ID%bTransfer-Encoding: chunked\r\n\r\n1;%b" % (_HOST, b"x" * 9000),
        refuse=(400,),
    ),
]
