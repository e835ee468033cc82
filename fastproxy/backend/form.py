"""A form whose files are stored already: its body is fastproxy's own, and signed as a whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.uploaded import UploadedFile

MAX_FORM: Final = 4 << 20  # bytes; by default fastproxy passes on fields of 1 MiB

_HEAD: Final = re.compile(rb'Content-Disposition: form-data; name="([^"\r\n]+)"(?:\r\n[^\r\n]+)?')


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedForm:
    """`fields`: names and texts in the client's order; anything the client likes.

    `files`: the field's name and the file of each, as fastproxy has stored them.
    """

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, UploadedFile], ...]

    def text(self, field: str) -> str | None:
        """The first text of that field."""
        return next((text for name, text in self.fields if name == field), None)

    def file(self, field: str) -> UploadedFile | None:
        """The first file of that field."""
        return next((file for name, file in self.files if name == field), None)


def read_fields(body: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of a form that fastproxy wrote: only for a body that is verified.

    Its boundary is in its first line, and nowhere in a text. Raises Refused.
    """
    boundary = body.partition(b"\r\n")[0]
    if body == boundary + b"\r\n":  # it is the last one at once: there is nothing in the form
        return
    for part in body.removesuffix(boundary + b"--\r\n").split(boundary + b"\r\n")[1:]:
        head, blank, text = part.partition(b"\r\n\r\n")
        match = _HEAD.fullmatch(head)
        if match is None or not blank or not text.endswith(b"\r\n"):
            raise Refused(Reason.BODY, "not a form of fastproxy")
        yield match[1].decode(errors="replace"), text[:-2].decode(errors="replace")
