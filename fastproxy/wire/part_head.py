"""What stands before a form's data: the boundary in its Content-Type, and the head of each part.

Strict, for what is ambiguous here is read differently by the application behind us: one
Content-Disposition with one name; lines end with CRLF and are not folded; no nested multipart.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from fastproxy.errors import BadForm, FormTooLarge

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
# Possessive (*+), for both parts take blanks: to divide them anew would cost the square of them.
_LINE: Final = re.compile(rb"(%b):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)" % _TOKEN)
_KIND: Final = re.compile(rb"%b(?:/%b)?" % (_TOKEN, _TOKEN))
# The backslash quotes itself and the quotation mark only: old browsers send paths of Windows.
_PARAMETER: Final = re.compile(
    rb'[ \t]*;[ \t]*(?:(%b)=(?:"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|(%b)))?[ \t]*' % (_TOKEN, _TOKEN)
)
_QUOTED: Final = re.compile(rb'\\(["\\])')
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_EXTENDED: Final = re.compile(
    rb"(utf-8|iso-8859-1)'[0-9A-Za-z-]*'([!#$&+.^_`|~%0-9A-Za-z-]*)", re.IGNORECASE
)
_STRAY_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NO_NAME: Final = re.compile(r'[\x00-\x1f\x7f"\\]')
_PLAIN_CODINGS: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})


class PartHead(Struct, frozen=True):
    """One part. `filename` None: a field; empty: a field for a file in which none was chosen.

    `filename` is the last segment of what the client says, and its claim; so is `content_type`,
    empty without one.
    """

    name: str
    filename: str | None
    content_type: str


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary of a form; None for a body that is not multipart at all. Raises BadForm."""
    if b"multipart" not in content_type.lower():
        return None
    kind, parameters = _parameters(content_type)
    if kind != b"multipart/form-data":
        raise BadForm("Content-Type: multipart, but not multipart/form-data")
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):  # RFC 2046 section 5.1.1
        raise BadForm("Content-Type: the boundary is not of 1 to 70 characters that are allowed")
    return boundary


def parse_part_head(block: bytes, max_name: int) -> PartHead:
    """The head of a part, without the empty line at its end. `max_name`: bytes of each name.

    Raises BadForm, FormTooLarge.
    """
    fields = _fields(block)
    if fields.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_CODINGS:
        raise BadForm("a part is encoded for mail (RFC 7578 section 4.7)")
    kind, parameters = _parameters(fields.get(b"content-disposition", b""))
    if kind != b"form-data" or b"name" not in parameters:
        raise BadForm("a part without Content-Disposition: form-data; name=...")
    name = _name(parameters[b"name"], max_name)
    filename = _filename(parameters, max_name)
    content_type = fields.get(b"content-type", b"").strip()
    if filename is None and b"multipart" in content_type.lower():
        raise BadForm("a form within a form (RFC 7578 section 4.3)")
    return PartHead(name, filename, content_type.decode("latin-1"))


def _fields(block: bytes) -> dict[bytes, bytes]:
    """Those that mean something, by their lower-case name."""
    found: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadForm("a line in the head of a part is not a header field, or ends without CR")
        name = match[1].lower()
        if name in found:
            raise BadForm("a field comes twice in the head of a part")
        found[name] = match[2]
    return found


def _parameters(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The lower-case kind, and its parameters by lower-case name. Raises BadForm."""
    kind = _KIND.match(value)
    if kind is None:
        return b"", {}
    found: dict[bytes, bytes] = {}
    at = kind.end()
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            raise BadForm("parameters of a header field cannot be read")
        at = match.end()
        if match[1] is None:
            continue
        name = match[1].lower()
        if name in found:
            raise BadForm("a parameter of a header field comes twice")
        found[name] = _QUOTED.sub(rb"\1", match[2]) if match[3] is None else match[3]
    return kind[0].lower(), found


def _name(raw: bytes, limit: int) -> str:
    """A field's name; those are refused that frameworks do not read alike."""
    if len(raw) > limit:
        raise FormTooLarge(f"a field's name has more than {limit} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BadForm("a field's name is not UTF-8") from None
    if not name or _NO_NAME.search(name):
        raise BadForm("a field's name is empty, or has control characters, quotes or backslashes")
    return name


def _filename(parameters: dict[bytes, bytes], limit: int) -> str | None:
    """The last segment of a path of whatever system; None if the part is no file."""
    odd = parameters.keys() - {b"filename*"}
    if any(name.startswith((b"name*", b"filename*")) for name in odd):
        raise BadForm("a name in a spelling for mail (RFC 2231)")
    raw = parameters.get(b"filename")
    if b"filename*" in parameters:  # not for forms by RFC 7578, but there are clients that do
        raw = _extended(parameters[b"filename*"])
    if raw is None:
        return None
    text = raw.decode(errors="replace")
    base = re.split(r"[/\\]", text)[-1]
    if _UNPRINTABLE.search(text) or base in (".", "..") or bool(base) != bool(text):
        raise BadForm("a file's name is none, or has control characters")
    if len(base.encode()) > limit:
        raise FormTooLarge(f"a file's name has more than {limit} bytes")
    return base


def _extended(value: bytes) -> bytes:
    """RFC 8187 to UTF-8."""
    match = _EXTENDED.fullmatch(value)
    if match is None or _STRAY_PERCENT.search(match[2]):
        raise BadForm("filename* cannot be read")
    raw = unquote_to_bytes(match[2])
    return raw if match[1].lower() == b"utf-8" else raw.decode("latin-1").encode()
