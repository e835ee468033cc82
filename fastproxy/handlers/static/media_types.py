"""Content types by the names of files."""

import mimetypes
from typing import Final

UNKNOWN: Final = b"application/octet-stream"

# What Python 3.11 does not know, or knows by an obsolete name.
_NEWER_TYPES: Final = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_ENCODED_TYPES: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}
_TYPES: Final = mimetypes.MimeTypes()
for _suffix, _type in _NEWER_TYPES.items():
    _TYPES.add_type(_type, _suffix)


def type_of(name: bytes) -> bytes:
    """The Content-Type of a file called so; text is taken for UTF-8."""
    # The "./" because guess_type takes what it is given for a URL.
    type_, coding = _TYPES.guess_type(f"./{name.decode('utf-8', 'replace')}")
    if coding is not None:
        type_ = _ENCODED_TYPES.get(coding)
    if type_ is None:
        return UNKNOWN
    if type_.startswith("text/"):
        return type_.encode() + b"; charset=utf-8"
    return type_.encode()
