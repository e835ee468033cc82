"""The words that fastproxy and a backend share (docs/protocol.md), for either side to import.

Nothing but the standard library is imported here: a backend has no more of ours than this and
`fastproxy.backend`.
"""

import base64
import binascii
import hashlib
from typing import Final

AUTHORIZE_HEADER: Final = "Fastproxy-Authorize"
UPLOAD_HEADER: Final = "Fastproxy-Upload"
# What a token is good for: its `aud`.
AUTHORIZE: Final = "fastproxy-authorize"
UPLOAD: Final = "fastproxy-upload"
ALGORITHM: Final = "HS256"
ISSUER: Final = "fastproxy"
AUTHORIZE_SUFFIX: Final = "/authorize"

PERMISSION_TYPE: Final = "application/vnd.fastproxy.authorize+json"
REPORT_TYPE: Final = "application/vnd.fastproxy.upload+json"

MAX_KEY: Final = 1024  # bytes; S3's limit
MAX_ID: Final = 2048  # bytes; it travels in a signed header field, of which gunicorn takes 8 KiB
HEX_LENGTH: Final = {
    "md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "crc32c": 8, "crc64nvme": 16,
}  # fmt: skip

MIN_SECRET: Final = 32  # bytes; RFC 7518 section 3.2 for HS256


def body_hash(body: bytes) -> str:
    """The claim `body_sha256` of a report."""
    return hashlib.sha256(body).hexdigest()


def decode_secret(content: bytes) -> bytes:
    """The secret in a file's content: what base64 of 32 bytes decodes to, else the content.

    One newline at its end is not part of it. It may be shorter than MIN_SECRET: judge that.
    """
    content = without_newline(content)
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return content
    return decoded if len(decoded) == MIN_SECRET else content


def without_newline(content: bytes) -> bytes:
    """A file's content without one newline at its end."""
    return content.removesuffix(b"\r\n" if content.endswith(b"\r\n") else b"\n")
