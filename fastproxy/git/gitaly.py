"""GitLab's order of an archive: one message of Gitaly's in protobuf's wire format, read by hand.

    GetArchiveRequest {Repository repository = 1 {string relative_path = 3}, string commit_id = 2,
                       string prefix = 3, Format format = 4, bytes path = 5, bytes exclude = 6 ...}

Of the encoding (protobuf.dev, "Encoding") only what these fields need: varints and lengths.
"""

import base64
import binascii
from typing import Final

from fastproxy.errors import BadOrder

FORMATS: Final = ("zip", "tar", "tar.gz", "tar.bz2")  # by number
_VARINT: Final = 0
_LENGTH: Final = 2
_MOST: Final = 64  # fields; such a message has ten
_LONGEST: Final = 10  # bytes of a number

Fields = dict[int, bytes | int]


def archive_fields(encoded: str) -> tuple[str, str, str, str, str]:
    """Repository, commit, prefix, format and path of a request in base64. Raises BadOrder.

    What leaves files out (`exclude`) cannot be done, and is not left out silently.
    """
    try:
        message = base64.b64decode("".join(encoded.split()), validate=True)  # Ruby breaks lines
        fields = read(message)
        repository = read(_bytes(fields, 1))
        if 6 in fields:
            raise BadOrder("an archive from which files are to be excluded")
        number = fields.get(4, 0)
        if not isinstance(number, int) or number >= len(FORMATS):
            raise BadOrder("an archive of no known format")
        texts = (_bytes(repository, 3), *(_bytes(fields, each) for each in (2, 3, 5)))
        name, commit, prefix, path = (text.decode() for text in texts)
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadOrder(f"GetArchiveRequest: {error}") from error
    return name, commit, prefix, FORMATS[number], path


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise BadOrder(f"GetArchiveRequest: field {number} is no text")
    return value


def read(message: bytes) -> Fields:
    """The last value of each field. Raises BadOrder for what is not in this format."""
    fields: Fields = {}
    at = 0
    for _ in range(_MOST):
        if at == len(message):
            return fields
        key, at = _number(message, at)
        value, at = _number(message, at)
        if key & 7 == _VARINT:
            fields[key >> 3] = value
        elif key & 7 == _LENGTH and at + value <= len(message):
            fields[key >> 3] = message[at : at + value]
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
