"""Images that scrub.py cannot clean while they pass, known by their first bytes.

What tells of their makers may stand anywhere in them, also before the place that says where it is:
of a TIFF (raw files of cameras are such, too) the directory mostly comes last, behind all that it
points to; of a HEIF or AVIF Exif is one item among the pixels. GIFs have comments and XMP.
"""

import re
from typing import Final

FIRST_BYTES: Final = 12  # that tell what it is
_KINDS: Final = {
    "tiff": re.compile(rb"II[*+U]\0|MM\0[*+]|IIR[OS]|MMOR"),  # BigTIFF, Panasonic, Olympus
    "heif": re.compile(
        rb"....ftyp(?:he[iv][cfmsx]|mif[12]|msf1|avi[fs]|crx )", re.DOTALL
    ),  # ISO/IEC 23008-12, and Canon's raw files
    "gif": re.compile(rb"GIF8[79]a"),
}


def kind_of(first: bytes) -> str | None:
    """Which of them begins so; None for everything else."""
    return next((name for name, start in _KINDS.items() if start.match(first)), None)
