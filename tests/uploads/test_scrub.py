"""What photos tell of their makers is gone, the pictures are the same, whatever the split."""

import io
import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fastproxy.errors import ClientFault
from fastproxy.uploads.scrub import ScrubbedBuffer, Scrubber

SECRET = b"Elise-Street 7"
NOISE = Image.frombytes("RGB", (64, 48), random.Random(1).randbytes(64 * 48 * 3))


def scrubbed(data: bytes, cuts: list[int] = []) -> bytes:  # noqa: B006
    """`data` after it went through in the pieces that `cuts` make."""
    file, scrubber = bytearray(data), Scrubber()
    edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    for start, end in itertools.pairwise(edges):
        piece = bytearray(file[start:end])  # its own memory, as a slab is
        scrubber.scrub(memoryview(piece))
        file[start:end] = piece
    return bytes(file)


def exif(orientation: int | None = 6, order: str = "MM") -> bytes:
    made = Image.Exif()
    made.endian = ">" if order == "MM" else "<"
    if orientation:
        made[0x0112] = orientation
    made[0x010F] = SECRET.decode()
    made[0x010E] = SECRET.decode()
    made.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: SECRET.decode()})
    made.get_ifd(0x8769)[0x9286] = SECRET
    return made.tobytes()


def saved(kind: str, size: tuple[int, int] = NOISE.size, **how: object) -> bytes:
    out = io.BytesIO()
    NOISE.resize(size).save(out, kind, **how)
    return out.getvalue()


def segment(code: int, payload: bytes) -> bytes:
    return bytes([0xFF, code]) + (len(payload) + 2).to_bytes(2, "big") + payload


def jpeg(order: str = "MM", orientation: int | None = 6, **how: object) -> bytes:
    """With everything a camera may put beside the pixels, and something behind them."""
    data = saved(
        "JPEG", exif=exif(orientation, order), comment=SECRET, icc_profile=b"p" * 300, **how
    )
    more = b"".join(
        segment(code, SECRET + b" " + b"\xff\xd9\xff\xe1" * 9)
        for code in (0xE1, 0xE2, 0xE3, 0xEB, 0xED, 0xEF, 0xFE)
    )
    return data[:2] + more + data[2:] + b"\xff\xd8\xff\xe1" + SECRET


def png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", SECRET.decode())
    text.add_text("Zipped", SECRET.decode() * 30, zip=True)
    text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    return saved("PNG", exif=exif(), pnginfo=text, icc_profile=b"p" * 300) + SECRET


def webp() -> bytes:
    return saved("WEBP", lossless=True, exif=exif(), xmp=SECRET, icc_profile=b"p" * 300) + SECRET


def tiff() -> bytes:
    return saved("TIFF", (400, 300), tiffinfo={0x010E: SECRET.decode()})


FILES = {
    "jpeg": jpeg(),
    "jpeg of the other order": jpeg("II"),
    "jpeg of several scans": jpeg(progressive=True),
    "jpeg without orientation": jpeg(orientation=None),
    "png": png(),
    "webp": webp(),
}


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("name", FILES)
def test_the_picture_is_the_same_and_the_secret_is_gone(name: str) -> None:
    data = FILES[name]
    assert SECRET in data
    made = scrubbed(data)
    assert len(made) == len(data)
    assert SECRET not in made
    before, after = opened(data), opened(made)
    assert after.tobytes() == before.tobytes()
    assert after.info.get("icc_profile") == b"p" * 300
    assert not after.getexif().get_ifd(0x8825)
    assert not after.getexif().get_ifd(0x8769)
    assert not any(SECRET.decode() in str(value) for value in after.info.values())


@pytest.mark.parametrize("name", ["jpeg", "jpeg of the other order", "jpeg of several scans"])
def test_which_side_is_up_is_kept(name: str) -> None:
    assert opened(scrubbed(FILES[name])).getexif()[0x0112] == 6


@pytest.mark.parametrize("name", FILES)
def test_the_split_makes_no_difference(name: str) -> None:
    data = FILES[name]
    whole = scrubbed(data)
    assert scrubbed(data, list(range(len(data)))) == whole
    for cut in range(1, min(len(data), 3000)):
        assert scrubbed(data, [cut]) == whole


@given(st.sampled_from(sorted(FILES)), st.lists(st.integers(1, 12_000), max_size=20))
def test_no_split_makes_a_difference(name: str, cuts: list[int]) -> None:
    assert scrubbed(FILES[name], cuts) == scrubbed(FILES[name])


@pytest.mark.parametrize("marker", [b"\xd9", b"\xe1%bExif\0\0", b"\xfe%b"])
def test_bytes_that_fill_up_before_a_marker_hide_it_for_no_split(marker: bytes) -> None:
    size = 2 + len(marker.partition(b"%b")[2]) + len(SECRET)
    pixels = FILES["jpeg"][: FILES["jpeg"].index(b"\xff\xda") + 100]
    data = pixels + b"\xff" * 5 + marker.replace(b"%b", size.to_bytes(2, "big")) + SECRET
    whole = scrubbed(data)
    assert SECRET not in whole
    for first in range(len(pixels), len(pixels) + 7):
        for more in ([1], [1, 1], [1, 1, 1], [2, 1], [3]):
            cuts = list(itertools.accumulate(more, initial=first))
            assert scrubbed(data, cuts) == whole


def test_a_picture_scrubbed_twice_is_the_same() -> None:
    for data in FILES.values():
        once = scrubbed(data)
        assert scrubbed(once) == once


@given(st.binary(max_size=300))
def test_what_is_no_photo_passes_as_it_is(data: bytes) -> None:
    if data[:1] not in (b"\xff", b"\x89", b"R"):
        assert scrubbed(data) == data


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"RIFF1234WAVEfmt ", b"\x89PNG-no", b"\xff\xfe\0\0"]
)
def test_what_only_begins_like_one_passes_as_it_is(data: bytes) -> None:
    assert scrubbed(data + b"rest") == data + b"rest"


@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_is_no_crash_and_changes_no_length(name: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 900)))] = data.draw(
            st.integers(0, 255)
        )
    assert len(scrubbed(bytes(damaged))) == len(damaged)


@pytest.mark.parametrize(
    "start", [b"\xff\xd8" + segment(0xFE, SECRET), png()[: png().index(b"IDAT") - 4]]
)
def test_where_a_photo_stops_being_one_the_rest_is_left_alone(start: bytes) -> None:
    rest = b"rest that is no segment" * 9
    made = scrubbed(start + rest)
    assert SECRET not in made
    if start[0] == 0xFF:
        assert made.endswith(rest)


def test_an_exif_whose_first_directory_is_elsewhere_is_emptied() -> None:
    odd = b"Exif\0\0II*\0" + (26).to_bytes(4, "little") + SECRET + b"\x01\0" + bytes(30)
    image = opened(scrubbed(b"\xff\xd8" + segment(0xE1, odd) + saved("JPEG")[2:]))
    assert not dict(image.getexif())


def test_a_promise_of_two_gigabytes_costs_nothing_until_they_come() -> None:
    head = b"\x89PNG\r\n\x1a\n" + (0x7FFFFFFF).to_bytes(4, "big") + b"tEXt"
    assert scrubbed(head + SECRET) == head + bytes(len(SECRET))


TEDIOUS = {
    "jpeg": b"\xff\xd8" + b"\xff\xe0\0\2" * 250_000,
    "scans": b"\xff\xd8" + b"\xff\xda\0\2" * 250_000,
    "filling": b"\xff\xd8" + b"\xff" * 1_000_000,
    "png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt\0\0\0\0" * 80_000,
    "webp": b"RIFF\xff\xff\xff\x7fWEBP" + b"ABCD\0\0\0\0" * 120_000,
}


@pytest.mark.parametrize("data", TEDIOUS.values(), ids=TEDIOUS)
def test_a_file_that_is_made_to_take_long_is_given_up(data: bytes) -> None:
    """Each of its bytes would cost half a microsecond, and others would wait."""
    scrubber, looked_at = Scrubber(), 0
    for start in range(0, len(data), 1 << 16):
        assert not scrubber.is_tedious or looked_at < 200_000
        if scrubber.is_tedious:
            return
        piece = bytearray(data[start : start + (1 << 16)])
        scrubber.scrub(memoryview(piece))
        looked_at += len(piece)
    raise AssertionError("it was looked at to its end")


@pytest.mark.parametrize("name", FILES)
def test_no_honest_photo_is(name: str) -> None:
    scrubber = Scrubber()
    for at in range(0, len(FILES[name]), 100):
        scrubber.scrub(memoryview(bytearray(FILES[name][at : at + 100])))
    assert not scrubber.is_tedious


class Kept:
    """What takes the bytes of an upload."""

    def __init__(self) -> None:
        self.data = b""

    def room(self) -> int:
        return 1000

    def feed(self, data: bytes) -> int:
        self.data += data
        return len(data)


def test_a_file_that_is_made_to_take_long_is_refused_once_and_no_more_of_it_taken() -> None:
    kept: Any = Kept()
    faults: list[ClientFault] = []
    inlet = ScrubbedBuffer(kept, (), faults.append)
    for data in (TEDIOUS["jpeg"], jpeg()):
        assert inlet.feed(memoryview(data)) == len(data)
    assert [fault.status for fault in faults] == [415]
    assert len(kept.data) < 100_000
