"""One image to a narrower one. Runs in a process that may die of it; see child.py."""

import io
from typing import Final

from PIL import Image, ImageOps

FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
_QUALITY: Final = 85
_ORIENTATION: Final = 0x0112  # of Exif; from 5 on the picture lies on its side
_FLAT: Final = {"JPEG": ("L", "RGB", "CMYK")}  # modes that a format can hold; others: all


class Refused(Exception):
    """It is no image of that type, or one that is too large to be unfolded."""


def scale(data: bytes, content_type: str, width: int, max_pixels: int) -> bytes:
    """`data` no wider than `width` pixels, upright, in its own format, without metadata.

    The number of pixels is judged from the header, before anything is unfolded. Raises Refused.
    """
    kind = FORMATS.get(content_type)
    if kind is None:
        raise Refused(f"images of type {content_type!r} are not made smaller")
    Image.MAX_IMAGE_PIXELS = None  # ours is the one that counts
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return _narrower(image, kind, width, max_pixels)
    except Refused:
        raise
    except MemoryError:
        raise Refused("more memory than one image may take") from None
    except Exception as error:
        raise Refused(f"no {kind} image: {type(error).__name__}") from None


def _narrower(image: Image.Image, kind: str, width: int, max_pixels: int) -> bytes:
    if image.width * image.height > max_pixels:
        raise Refused(f"{image.width} x {image.height} pixels")
    if kind == "JPEG":  # unfold no more of it than is needed
        lies = image.getexif().get(_ORIENTATION, 1) >= 5
        share = min(1.0, width / (image.height if lies else image.width))
        image.draft(None, (int(image.width * share) + 1, int(image.height * share) + 1))
    upright = ImageOps.exif_transpose(image)
    if upright.width > width:
        height = max(1, round(upright.height * width / upright.width))
        upright = upright.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    modes = _FLAT.get(kind)
    if modes and upright.mode not in modes:
        upright = upright.convert("RGB")
    out = io.BytesIO()
    profile = image.info.get("icc_profile")
    upright.info.clear()  # what Pillow would write back: comments, EXIF, XMP
    upright.save(out, kind, quality=_QUALITY, icc_profile=profile)
    return out.getvalue()
