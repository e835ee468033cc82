"""multipart/byteranges taken apart, by the letter of RFC 2046 section 5.1.1."""

import re

_TYPE = re.compile(r"multipart/byteranges; boundary=([0-9A-Za-z]{1,70})").fullmatch

Part = tuple[dict[str, str], bytes]


def parts_of(content_type: str, body: bytes) -> list[Part]:
    """The fields, their names in lower case, and the bytes of each part."""
    match = _TYPE(content_type)
    assert match is not None, content_type
    delimiter = b"\r\n--" + match[1].encode()
    # A first line end may belong to the preamble, which nginx begins with.
    text = body if body.startswith(b"\r\n") else b"\r\n" + body
    preamble, *parts, epilogue = text.split(delimiter)
    assert (preamble, epilogue) == (b"", b"--\r\n")
    return [_part(part) for part in parts]


def _part(text: bytes) -> Part:
    head, _, data = text.partition(b"\r\n\r\n")
    assert head.startswith(b"\r\n")
    lines = head.decode().split("\r\n")[1:]
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    return {name.lower(): value for name, value in fields.items()}, data
