"""Images that are not scrubbed: each by real bytes, whatever the client calls it."""

import io
import itertools

import pytest
from PIL import Image

from fastproxy.uploads.image_kinds import FIRST_BYTES, kind_of
from tests.uploads.test_scrub import FILES, SECRET, exif, saved, scrubbed, tiff


def big_tiff() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "TIFF", big_tiff=True)
    return out.getvalue()


def file_type(brand: bytes) -> bytes:
    """How such a file begins (ISO/IEC 14496-12 section 4.3)."""
    return b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0" + b"mif1heicmiaf"


UNSCRUBBED = {
    "tiff": (tiff(), "tiff"),
    "tiff of the other order": (b"MM\0*\0\0\0\x08" + bytes(20), "tiff"),
    "large tiff": (big_tiff(), "tiff"),
    "avif": (saved("AVIF", exif=exif()), "heif"),
    "heic": (file_type(b"heic"), "heif"),
    "heic of several": (file_type(b"msf1"), "heif"),
    "gif": (saved("GIF", comment=SECRET), "gif"),
}


@pytest.mark.parametrize(("data", "kind"), UNSCRUBBED.values(), ids=UNSCRUBBED)
def test_an_image_is_known_by_its_first_bytes(data: bytes, kind: str) -> None:
    assert kind_of(data[:FIRST_BYTES]) == kind


@pytest.mark.parametrize("name", ["tiff", "avif", "gif"])
def test_without_a_refusal_it_is_stored_as_it_came_with_all_it_tells(name: str) -> None:
    data, _ = UNSCRUBBED[name]
    assert scrubbed(data) == data
    assert SECRET in data


@pytest.mark.parametrize(
    "data",
    [*FILES.values(), b"", b"II", b"GIF is a format", b"MMORPG"[:3], file_type(b"isom"),
     file_type(b"qt  "), b"IIIIIIIIIIII", b"%PDF-1.7 and so on"],
)  # fmt: skip
def test_what_is_scrubbed_or_no_image_is_none_of_them(data: bytes) -> None:
    assert all(kind_of(data[:size]) is None for size in range(FIRST_BYTES + 1))


def test_no_beginning_of_an_image_is_taken_for_another() -> None:
    for data, kind in UNSCRUBBED.values():
        found = [kind_of(data[:size]) for size in range(FIRST_BYTES + 1)]
        assert [each for each, _ in itertools.groupby(found)] == [None, kind]
