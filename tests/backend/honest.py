"""What fastproxy sends, for applications that are tested without it."""

from typing import Any

from fastproxy.claims import Signer
from fastproxy.protocol import AUTHORIZE
from fastproxy.uploads.form import FieldBudget, FormFields, StoredFile
from fastproxy.uploads.report import StoredUpload, report

SECRET = b"s" * 32
SIGNER = Signer(SECRET, "fastproxy", 60)


def ask_token(path: str = "/uploads/a", *, signer: Signer = SIGNER, **claims: Any) -> str:
    told = {"length": None, "content_type": "", **claims}
    return signer.sign(AUTHORIZE, b"PUT", path, **told).decode()


def report_of(
    to: str = "/uploads/a", *, signer: Signer = SIGNER, **changes: Any
) -> tuple[bytes, str]:
    """The body of a report and its token."""
    told = {"id": "a", "store": "default", "key": "1", "path": "/s/1", "size": 3, "etag": ""}
    body, lines = report(StoredUpload(**{**told, **changes}), signer, b"PUT", to)
    return body, lines.split(b"Fastproxy-Upload: ")[1].strip().decode()


def form_of(to: str, path: str) -> tuple[bytes, dict[str, str]]:
    """A form with one file, which lies at `path`: its body and the fields that go with it."""
    upload = StoredUpload("a", "default", "1", path, 3, "", {"sha256": "of the test"})
    body, lines = FormFields(9, 999, FieldBudget(999)).report(
        [StoredFile("photo", upload)], SIGNER, b"POST", to
    )
    fields = dict(line.split(": ", 1) for line in lines.decode().split("\r\n") if line)
    return body, fields
