"""The signed report to the backend: where the body is, in place of the body."""

from dataclasses import asdict, dataclass, field
from typing import Final

import orjson

from fastproxy import protocol
from fastproxy.asking import without_body_fields
from fastproxy.claims import Signer
from fastproxy.message import Headers
from fastproxy.wire.serialize import field_lines

CONTENT_TYPE: Final = protocol.REPORT_TYPE.encode()


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """What the backend is told, in the body and, signed, in the claim. `duration` in seconds.

    `path` is set for local stores only; `id` is what the backend gave with its permission.
    """

    id: str
    store: str
    key: str
    path: str
    size: int
    etag: str
    hashes: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    parts: int = 1
    duration: float = 0.0


def report(upload: StoredUpload, signer: Signer, method: bytes, path: str) -> tuple[bytes, bytes]:
    """The body of the report and the field lines that describe and sign it."""
    told = asdict(upload)
    body = orjson.dumps({"upload": told})
    token = signer.sign(
        protocol.UPLOAD, method, path, body_sha256=protocol.body_hash(body), upload=told
    )
    name = signer.dialect.report_field.encode()
    lines = b"Content-Type: %b\r\n%b: %b\r\n" % (CONTENT_TYPE, name, token)
    return body, lines


def report_lines(host: bytes, headers: Headers, forwarded: bytes, lines: bytes) -> bytes:
    """All field lines of the report but its length."""
    fields = field_lines(without_body_fields(headers))
    return b"Host: %b\r\n%b%b%b" % (host, fields, forwarded, lines)
