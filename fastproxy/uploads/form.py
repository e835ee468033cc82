"""A form without its files: the fields written anew within limits, and what is told of the files.

Nothing of the client's framing goes to the backend: names and values do, between boundaries that
the client cannot know.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.claims import Signer
from fastproxy.errors import BadForm, FormTooLarge, MemoryShort
from fastproxy.uploads.report import StoredUpload, file_fields, form_lines
from fastproxy.wire.part_head import PartHead


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a form. `field`: its name in the form."""

    field: str
    upload: StoredUpload


class Purse:
    """What the fields of all forms of a worker may hold together, in bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Raises MemoryShort."""
        if self.held + size > self._budget:
            raise MemoryShort(f"fields of forms hold {self.held} bytes")
        self.held += size

    def give(self, size: int) -> None:
        """Bytes are no longer held."""
        self.held -= size


class FormFields:
    """The fields of one form as they come. `limit`: how many, `max_size`: bytes, names included."""

    __slots__ = ("_boundary", "_limit", "_max_size", "_names", "_purse", "_written")

    def __init__(self, limit: int, max_size: int, purse: Purse) -> None:
        self._boundary = secrets.token_hex(16).encode()
        self._limit = limit
        self._max_size = max_size
        self._purse = purse
        self._names: list[str] = []
        self._written = bytearray()

    def begin(self, head: PartHead) -> None:
        """A field. Raises FormTooLarge, MemoryShort."""
        if len(self._names) >= self._limit:
            raise FormTooLarge(f"more than {self._limit} fields")
        self._names.append(head.name)
        self.add(_part_head(self._boundary, head.name, head.content_type))

    def add(self, data: bytes | memoryview) -> None:
        """More of it. Raises FormTooLarge, MemoryShort."""
        if len(self._written) + len(data) > self._max_size:
            raise FormTooLarge(f"fields have more than {self._max_size} bytes")
        self._purse.take(len(data))
        self._written += data

    def end(self) -> None:
        """All of it came."""
        self.add(b"\r\n")

    def close(self) -> None:
        """They are not needed any more. Idempotent."""
        self._purse.give(len(self._written))
        self._written = bytearray()

    def report(
        self, files: Sequence[StoredFile], signer: Signer, method: bytes, path: str
    ) -> tuple[bytes, bytes]:
        """The form without its files, and the field lines that describe and sign it.

        Raises BadForm for a field that is called as one of ours, which some would take for ours.
        """
        ours = [
            field
            for file in files
            for field in file_fields(file.field, file.upload, signer, method, path)
        ]
        self._require_own_names({name for name, _ in ours}, signer.dialect.file_field)
        if signer.dialect.is_flat and len({file.field for file in files}) < len(files):
            raise BadForm("two files in one field, of which the backend would see one")
        told = [_part_head(self._boundary, name) + value.encode() for name, value in ours]
        body = b"\r\n".join([*told, b"--%b--\r\n" % self._boundary])
        body = bytes(self._written) + body
        paths: dict[str, str | list[str]] = {
            file.field: file.upload.path
            if signer.dialect.is_flat
            else [each.upload.path for each in files if each.field == file.field]
            for file in files
        }
        lines = form_lines(paths, body, signer, method, path)
        kind = b"Content-Type: multipart/form-data; boundary=%b\r\n" % self._boundary
        return body, kind + lines

    def _require_own_names(self, ours: set[str], suffix: str) -> None:
        for name in self._names:
            if name in ours or suffix in name.lower():
                raise BadForm(f"a field is called {name[:64]!r}, which only fastproxy may write")


def _part_head(boundary: bytes, name: str, content_type: str = "") -> bytes:
    """What stands before the value of a field whose name needs no quoting."""
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    head = f'Content-Disposition: form-data; name="{name}"'.encode() + kind.encode("latin-1")
    return b"--%b\r\n%b\r\n\r\n" % (boundary, head)
