"""GitLab's order of an archive: one message of Gitaly's in protobuf's wire format, read by hand.

    GetArchiveRequest {Repository repository = 1 {string relative_path = 3}, string commit_id = 2,
                       string prefix = 3, Format format = 4, bytes path = 5,
                       repeated bytes exclude = 6, bool elide_path = 7, bool include_lfs_blobs = 8}

So it is in Gitaly's repository.proto. A field that came later would change what is wanted, so it is
an error and not passed over. Of the encoding (protobuf.dev, "Encoding") only what these fields
need: varints and lengths.
"""

import base64
from typing import Any, Final

from fastproxy.errors import BadOrder

FORMATS: Final = ("zip", "tar", "tar.gz", "tar.bz2")  # by number
_VARINT: Final = 0
_LENGTH: Final = 2
_KNOWN: Final = 8  # the highest number of a field
_MOST: Final = 128  # fields; such a message has ten, and one for each path that is excluded
_LONGEST: Final = 10  # bytes of a number

Fields = dict[int, list[bytes | int]]


def archive_request(encoded: str) -> dict[str, Any]:
    """The fields of an `orders.Archive` as a request in base64 has them. Raises BadOrder."""
    try:
        message = base64.b64decode("".join(encoded.split()), validate=True)  # Ruby breaks lines
        fields = read(message)
        if unknown := [number for number in fields if number > _KNOWN]:
            raise BadOrder(f"GetArchiveRequest: field {unknown[0]} is not known")
        return {
            "repository": _text(read(_bytes(fields, 1)), 3),
            "commit": _text(fields, 2),
            "prefix": _text(fields, 3),
            "format": _format(fields),
            "path": _text(fields, 5).removesuffix("/"),
            "exclude": [_whole(value, 6).decode() for value in fields.get(6, ())],
            "elide": bool(_number_of(fields, 7)),
            "pointers": "warn" if _number_of(fields, 8) else "send",
        }
    except ValueError as error:  # neither base64 nor UTF-8
        raise BadOrder(f"GetArchiveRequest: {error}") from error


def _format(fields: Fields) -> str:
    number = _number_of(fields, 4)
    if number >= len(FORMATS):
        raise BadOrder("an archive of no known format")
    return FORMATS[number]


def _text(fields: Fields, number: int) -> str:
    return _bytes(fields, number).decode()


def _bytes(fields: Fields, number: int) -> bytes:
    """The last of that number, as protobuf has it."""
    return _whole(fields[number][-1], number) if number in fields else b""


def _whole(value: bytes | int, number: int) -> bytes:
    if not isinstance(value, bytes):
        raise BadOrder(f"GetArchiveRequest: field {number} is no text")
    return value


def _number_of(fields: Fields, number: int) -> int:
    value = fields[number][-1] if number in fields else 0
    if not isinstance(value, int):
        raise BadOrder(f"GetArchiveRequest: field {number} is no number")
    return value


def read(message: bytes) -> Fields:
    """All values of each field. Raises BadOrder for what is not in this format."""
    fields: Fields = {}
    at = 0
    for _ in range(_MOST):
        if at == len(message):
            return fields
        key, at = _number(message, at)
        value, at = _number(message, at)
        if key & 7 == _VARINT:
            fields.setdefault(key >> 3, []).append(value)
        elif key & 7 == _LENGTH and at + value <= len(message):
            fields.setdefault(key >> 3, []).append(message[at : at + value])
            at += value
        else:
            raise BadOrder("GetArchiveRequest: not a message of protobuf")
    raise BadOrder("GetArchiveRequest: too many fields")


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST):
        if at + shift >= len(message):
            break
        byte = message[at + shift]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise BadOrder("GetArchiveRequest: a number that does not end")
