"""The signed report to the backend: where the body is, in place of the body.

A raw body's report is all of the request's body (`report`). In a form each file is replaced by the
fields of `file_fields`, and the form's head gets the lines of `form_lines`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from msgspec import Struct, field

from fastproxy import protocol
from fastproxy.asking import without_body_fields
from fastproxy.claims import Signer
from fastproxy.message import Headers
from fastproxy.protocol import Dialect
from fastproxy.wire.serialize import field_lines


class StoredUpload(Struct, frozen=True):
    """What a backend can be told; its dialect says what it is. `duration` in seconds.

    `path` is set for local stores only; `id` is what the backend gave with its permission, `url`
    where it said the object can be read. `name`: what the client calls the file.
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
    name: str = ""
    url: str = ""


def told(upload: StoredUpload, dialect: Dialect) -> dict[str, Any]:
    """What a backend of that dialect hears, in the body and in the claim."""
    values = {name: getattr(upload, source) for name, source in dialect.upload_values.items()}
    if not dialect.is_flat:
        return values
    texts = {name: _text(value) for name, value in values.items()}
    return texts | upload.hashes


def _text(value: object) -> str:
    return f"{value:f}" if isinstance(value, float) else str(value)


def report(upload: StoredUpload, signer: Signer, method: bytes, path: str) -> tuple[bytes, bytes]:
    """The body of a raw body's report, and the field lines that describe and sign it."""
    dialect = signer.dialect
    content_type = b"Content-Type: %b\r\n" % dialect.report_type.encode()
    if name := dialect.raw_field:
        body = urlencode(sorted(file_fields(name, upload, signer, method, path))).encode()
        return body, content_type + form_lines({name: upload.path}, body, signer, method, path)
    values = told(upload, dialect)
    body = orjson.dumps({"upload": values})
    token = signer.sign(
        protocol.UPLOAD, method, path, body_sha256=protocol.body_hash(body), upload=values
    )
    return body, content_type + _report_line(dialect, token)


def file_fields(
    name: str, upload: StoredUpload, signer: Signer, method: bytes, path: str
) -> list[tuple[str, str]]:
    """The fields of a form that stand for its file `name`: only the token is to be believed."""
    dialect = signer.dialect
    values = told(upload, dialect)
    about = {} if dialect.is_flat else {"field": name, "name": upload.name}
    token = signer.sign(protocol.FILE, method, path, upload=values, **about)
    shown = values if dialect.is_flat else {}
    return [
        *((f"{name}.{key}", value) for key, value in shown.items()),
        (f"{name}.{dialect.file_field}", token.decode()),
    ]


def form_lines(
    files: Mapping[str, str | list[str]], body: bytes, signer: Signer, method: bytes, path: str
) -> bytes:
    """The field lines by which a backend knows a form of ours; all but its type and length.

    `files`: the local path of each file, or "", by the name of its field; where a field may have
    several, all of them.
    """
    dialect = signer.dialect
    claims: dict[str, Any] = {dialect.fields_claim: dict(files)}
    if dialect.binds_body:
        claims["body_sha256"] = protocol.body_hash(body)
    lines = _report_line(dialect, signer.sign(protocol.FORM, method, path, **claims))
    return lines + signer.question_lines(method, path) if dialect.asks_with_reports else lines


def _report_line(dialect: Dialect, token: bytes) -> bytes:
    return b"%b: %b\r\n" % (dialect.report_field.encode(), token)


def report_lines(host: bytes, headers: Headers, forwarded: bytes, lines: bytes) -> bytes:
    """All field lines of the report but its length."""
    fields = field_lines(without_body_fields(headers))
    return b"Host: %b\r\n%b%b%b" % (host, fields, forwarded, lines)
