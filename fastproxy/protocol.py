"""The words that fastproxy and a backend share (docs/protocol.md), for either side to import.

They are data, one `Dialect` for each kind of backend: NATIVE is the protocol of our own, GITLAB the
one between GitLab's Rails application and Workhorse (docs/gitlab.md). Nothing but the standard
library is imported here: a backend has no more of ours than this and `fastproxy.backend`.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# What a token is good for: its `aud`, where the dialect has one.
AUTHORIZE: Final = "fastproxy-authorize"
UPLOAD: Final = "fastproxy-upload"
FORM: Final = "fastproxy-form"
FILE: Final = "fastproxy-file"
ALGORITHM: Final = "HS256"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # there is one of each
class Dialect:
    """Every word of the wire between fastproxy and one kind of backend.

    `..._field` are names of header fields as they are sent; an empty one is not sent. Where a
    dialect has no word for something, it is left out of what is said.
    """

    name: str  # in the configuration: `dialect` of a backend
    prefix: str  # of header fields that only fastproxy and the backend may send each other
    private_types: str  # what content types begin with that no client may see

    # Tokens.
    issuer: str  # `iss`
    bindings: frozenset[str]  # the claims that every token has
    question_claims: frozenset[str]  # those that only the question has

    # Asking for permission.
    authorize_suffix: str
    version_field: str  # who is asking or telling
    question_field: str  # the token of a question
    permission_type: str  # of an answer that is a permission; any other is a refusal

    # Telling of an upload that is stored; `upload_values`: what of it, by its name in StoredUpload.
    report_field: str  # the token that says so
    asks_with_reports: bool  # a report carries a question's token and `version_field`, too
    binds_body: bool  # its token has the claim `body_sha256`
    report_type: str  # of the report on a raw body
    raw_field: str  # what a raw body is called where its report is a form; empty: it is none
    raw_name: str  # its file name there
    upload_values: Mapping[str, str]
    is_flat: bool  # all of these are texts, the hashes too, and in a form they stand open as well
    file_field: str  # in a form, behind the name of a file and a dot: the token with these values
    fields_claim: str  # in the token of a form: where its files are, by their fields

    # Archives.
    format_parameter: str  # in the query: of which format the form's file is; "zip" without one
    moves_lists: bool  # a list is told without an `id`, and the backend moves it away

    # Taking an answer over.
    send_field: str  # what is to be sent in place of the answer's body
    detect_field: str  # whether to look at the bytes of a body for its type


NATIVE: Final = Dialect(
    name="native",
    prefix="Fastproxy-",
    private_types="application/vnd.fastproxy.",
    issuer="fastproxy",
    bindings=frozenset({"iss", "aud", "iat", "exp", "jti", "method", "path"}),
    question_claims=frozenset({"length", "content_type", "field", "filename"}),
    authorize_suffix="/authorize",
    version_field="",
    question_field="Fastproxy-Authorize",
    permission_type="application/vnd.fastproxy.authorize+json",
    report_field="Fastproxy-Upload",
    asks_with_reports=False,
    binds_body=True,
    report_type="application/vnd.fastproxy.upload+json",
    raw_field="",
    raw_name="",
    upload_values={
        name: name
        for name in (
            *("id", "store", "key", "path", "size", "etag", "hashes", "content_type", "parts"),
            "duration",
        )
    },
    is_flat=False,
    file_field="fastproxy-upload",
    fields_claim="files",
    format_parameter="",
    moves_lists=False,
    send_field="Fastproxy-Send",
    detect_field="Fastproxy-Detect-Content-Type",
)
# Rails verifies the signature and `iss`, of a question since 2026 also `iat`. ruby-jwt believes no
# token past its `exp`, which Workhorse does not set: who reads one of its tokens could use it long.
GITLAB: Final = Dialect(
    name="gitlab",
    prefix="Gitlab-Workhorse",
    private_types="application/vnd.gitlab-workhorse+json",
    issuer="gitlab-workhorse",
    bindings=frozenset({"iss", "iat", "exp"}),
    question_claims=frozenset(),
    authorize_suffix="/authorize",
    version_field="Gitlab-Workhorse",
    question_field="Gitlab-Workhorse-Api-Request",
    permission_type="application/vnd.gitlab-workhorse+json",
    report_field="Gitlab-Workhorse-Multipart-Fields",
    asks_with_reports=True,
    binds_body=False,
    report_type="application/x-www-form-urlencoded",
    raw_field="file",
    raw_name="upload",
    upload_values={
        "name": "name",
        "path": "path",
        "remote_url": "url",
        "remote_id": "id",
        "size": "size",
        "upload_duration": "duration",
    },
    is_flat=True,
    file_field="gitlab-workhorse-upload",
    fields_claim="rewritten_fields",
    format_parameter="artifact_format",
    moves_lists=True,
    send_field="Gitlab-Workhorse-Send-Data",
    detect_field="Gitlab-Workhorse-Detect-Content-Type",
)
DIALECTS: Final = {dialect.name: dialect for dialect in (NATIVE, GITLAB)}

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
