"""The few XML documents of the S3 API that we read and write ourselves."""

from collections.abc import Iterable
from html import escape  # of xml.sax it would bring an HTTP client and a mail parser: 5 ms
from typing import NamedTuple
from xml.etree import ElementTree as ET

MAX_DOCUMENT = 256 * 1024  # the answers read here are below 1 KiB


class Document(NamedTuple):
    """An answer: its root element's name without namespace, and the texts of its children."""

    root: str = ""
    fields: dict[str, str] = {}  # noqa: RUF012 - never written to

    @property
    def code(self) -> str:
        """The error code, empty when this is not an error document."""
        return self.fields.get("Code", "") if self.root == "Error" else ""

    @property
    def message(self) -> str:
        """What the store says of its error; may quote the request, so never logged."""
        return self.fields.get("Message", "")


def parse(body: bytes) -> Document:
    """Read an answer; what is no XML is an empty document, for callers to judge.

    S3 may send spaces before the document to keep the connection alive. A DOCTYPE has no place in
    an answer and is not looked at: entity expansion stays out.
    """
    body = body.strip()
    if (
        not body.startswith(b"<")
        or len(body) > MAX_DOCUMENT
        or b"<!DOCTYPE" in body
        or b"\0" in body
    ):
        return Document()
    try:
        root = ET.fromstring(body)  # noqa: S314 - bounded, and without a DOCTYPE
    except (ET.ParseError, ValueError, LookupError):  # LookupError: unknown encoding
        return Document()
    return Document(_local(root.tag), {_local(child.tag): child.text or "" for child in root})


def completion(parts: Iterable[tuple[int, str]]) -> bytes:
    """The body of CompleteMultipartUpload from part numbers and ETags, in order of the numbers."""
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag, quote=False)}</ETag></Part>"
        for number, etag in sorted(parts)
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
