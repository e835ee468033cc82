"""Images made narrower: right side up, without metadata, and never unfolded when too large."""

import io
import struct
import zlib

import pytest
from PIL import Image

from fastproxy.images.scale import Refused, scale

MANY = 10_000_000


def picture(
    kind: str, size: tuple[int, int] = (400, 200), mode: str = "RGB", **how: object
) -> bytes:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.convert(mode).save(out, kind, **how)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_becomes_narrower_and_keeps_its_shape_and_format(kind: str) -> None:
    image = opened(scale(picture(kind), f"image/{kind.lower()}", 100, MANY))
    assert (image.format, image.size) == (kind, (100, 50))
    red, _, blue = image.convert("RGB").getpixel((10, 25))
    assert red > 200 > 50 > blue


def test_an_image_that_is_narrow_enough_is_not_made_wider() -> None:
    assert opened(scale(picture("PNG"), "image/png", 4000, MANY)).size == (400, 200)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_that_a_format_knows_is_taken(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert opened(scale(picture(kind, mode=mode), f"image/{kind.lower()}", 40, MANY)).width == 40


def test_a_photo_that_lies_on_its_side_stands_up_and_says_nothing_of_where_it_was_taken() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    made = scale(picture("JPEG", exif=exif, comment=b"secret place"), "image/jpeg", 50, MANY)
    image = opened(made)
    assert image.size == (50, 100)
    assert not image.getexif()
    assert b"secret" not in made
    assert b"Camera" not in made


def header(width: int, height: int) -> bytes:
    """A PNG that says it is large, in 60 bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    ihdr = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(Refused, match="60000 x 60000 pixels"):
        scale(header(60_000, 60_000), "image/png", 100, MANY)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (picture("PNG"), "image/jpeg"),
        (picture("JPEG"), "image/png"),
        (picture("PNG"), "image/gif"),
        (picture("PNG"), "text/html"),
        (b"", "image/png"),
        (b"<svg/>", "image/png"),
        (picture("PNG")[:60], "image/png"),
        (header(10, 10), "image/png"),
        (picture("PNG", mode="I;16"), "image/png"),  # a depth that Pillow does not scale
    ],
)
def test_what_is_no_image_of_its_type_is_refused(data: bytes, content_type: str) -> None:
    with pytest.raises(Refused):
        scale(data, content_type, 100, MANY)
