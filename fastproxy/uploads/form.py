"""A form without its files: the fields written anew within limits, and what is told of the files.

Nothing of the client's framing goes to the backend: names and values do, between boundaries that
the client cannot know.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from fastproxy.claims import Signer
from fastproxy.errors import BadForm, FormTooLarge, MemoryShort
from fastproxy.uploads.report import StoredUpload, file_fields, form_lines
from fastproxy.wire.part_head import PartHead

_SPARED_S: Final = 10.0
_SPARED_SHARE: Final = 1024  # of the budget: to take it from who has less would not help


class StoredFile(Struct, frozen=True):
    """One file of a form. `field`: its name in the form."""

    field: str
    upload: StoredUpload


class FieldBudget:
    """What the fields of all forms of a worker may hold together, in bytes.

    When it is empty, who has held most for longest gives way, for a few clients that send a byte
    now and then could have all of it. Nobody does in the first seconds, or who has hardly any.
    """

    def __init__(self, budget: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._since: dict[FormFields, float] = {}
        self.held = 0

    def take(self, size: int, holder: "FormFields") -> None:
        """Raises MemoryShort."""
        while self.held + size > self._budget:
            slowest = self._slowest(holder)
            if slowest is None:
                raise MemoryShort(f"fields of forms hold {self.held} bytes")
            slowest.give_way()
        self._since.setdefault(holder, self._clock())
        self.held += size

    def _slowest(self, asking: "FormFields") -> "FormFields | None":
        now = self._clock()
        costs = {
            holder: holder.size * (now - since)
            for holder, since in self._since.items()
            if holder is not asking
            and holder.size > self._budget // _SPARED_SHARE
            and now - since > _SPARED_S
        }
        return max(costs, key=costs.__getitem__, default=None)

    def give(self, holder: "FormFields") -> None:
        """It holds nothing any more."""
        self.held -= holder.size
        self._since.pop(holder, None)


class FormFields:
    """The fields of one form as they come. `limit`: how many, `max_size`: bytes, names included.

    `on_short`: others need what it holds, and it has been slow. It is to close.
    """

    __slots__ = ("_boundary", "_count", "_field_budget", "_limit", "_max_size", "_names",
                 "_on_short", "_written")  # fmt: skip

    def __init__(
        self,
        limit: int,
        max_size: int,
        field_budget: FieldBudget,
        on_short: Callable[[MemoryShort], None] | None = None,
    ) -> None:
        self._boundary = secrets.token_hex(16).encode()
        self._limit = limit
        self._max_size = max_size
        self._field_budget = field_budget
        self._on_short = on_short or _nobody
        self._names: list[str] = []
        self._count = 0
        self._written = bytearray()

    def begin(self, head: PartHead) -> None:
        """A field. Raises FormTooLarge, MemoryShort."""
        self.count()
        self._names.append(head.name)
        self.add(_part_head(self._boundary, head.name, head.content_type))

    def count(self) -> None:
        """A field, or one for a file in which none was chosen. Raises FormTooLarge."""
        self._count += 1
        if self._count > self._limit:
            raise FormTooLarge(f"more than {self._limit} fields")

    def add(self, data: bytes | memoryview) -> None:
        """More of it. Raises FormTooLarge, MemoryShort."""
        if len(self._written) + len(data) > self._max_size:
            raise FormTooLarge(f"fields have more than {self._max_size} bytes")
        self._field_budget.take(len(data), self)
        self._written += data

    def end(self) -> None:
        """All of it came."""
        self.add(b"\r\n")

    def close(self) -> None:
        """They are not needed any more. Idempotent."""
        self._field_budget.give(self)
        self._written = bytearray()
        self._on_short = _nobody  # or there would be a circle

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self._written)

    def give_way(self) -> None:
        """To others."""
        self._on_short(MemoryShort(f"fields of forms are slow, and hold {self.size} bytes"))
        self.close()

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


def _nobody(fault: MemoryShort) -> None:
    """It is over, or nothing else depends on it."""


def _part_head(boundary: bytes, name: str, content_type: str = "") -> bytes:
    """What stands before the value of a field whose name needs no quoting."""
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    head = f'Content-Disposition: form-data; name="{name}"'.encode() + kind.encode("latin-1")
    return b"--%b\r\n%b\r\n\r\n" % (boundary, head)
