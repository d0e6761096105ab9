"""Thumbnails: which files have one, what it keeps, and what is refused."""

import struct
import warnings
import zlib
from io import BytesIO

import pytest
from PIL import Image

from apps.notes.images import MAX_PIXELS, SIZE, UnreadableImageError, make_thumbnail
from tests.notes.conftest import picture


def thumbnail(content: bytes) -> Image.Image:
    made = make_thumbnail(BytesIO(content))
    assert made
    return Image.open(BytesIO(made.content))


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
    ],
)
def test_each_kind_has_a_small_thumbnail(kind: str, media_type: str) -> None:
    content = picture(kind)
    made = make_thumbnail(BytesIO(content))
    assert made
    assert made.original_type == media_type
    small = thumbnail(content)
    assert small.format == "WEBP"
    assert small.size == (SIZE[0], SIZE[1] // 2)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PDF"])
def test_other_kinds_have_none(kind: str) -> None:
    assert make_thumbnail(BytesIO(picture(kind))) is None


@pytest.mark.parametrize("content", [b"", b"text", b"<html>", b"\x89PNG", b"GIF89a"])
def test_no_picture_has_none(content: bytes) -> None:
    assert make_thumbnail(BytesIO(content)) is None


def test_a_small_picture_is_not_enlarged() -> None:
    assert thumbnail(picture(size=(20, 10))).size == (20, 10)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_every_mode_of_pixels_is_read(mode: str) -> None:
    assert thumbnail(picture(mode=mode, colour=0 if mode in ("I;16", "P") else "black"))


def test_transparency_is_kept() -> None:
    small = thumbnail(picture(mode="RGBA", colour=(255, 0, 0, 0)))
    assert small.mode == "RGBA"
    assert small.getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_the_picture_stands_upright_and_its_metadata_is_gone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8825)[1] = "N"  # a place
    small = thumbnail(picture("JPEG", exif=exif, comment=b"A secret"))
    assert small.size == (SIZE[0] // 2, SIZE[1])
    assert not small.getexif()
    assert not {"exif", "icc_profile", "xmp", "comment"} & small.info.keys()


def huge_png(width: int, height: int) -> bytes:
    """Return the first bytes of a PNG file that claims to be that large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("height", [MAX_PIXELS // 1000 + 1, 100_000, 60_000_000])
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_a_bomb_is_refused(height: int, action: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # type: ignore[arg-type]
        with pytest.raises(UnreadableImageError, match="more than 50 million pixels"):
            make_thumbnail(BytesIO(huge_png(1000, height)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_damaged_picture_is_refused(kind: str) -> None:
    content = picture(kind, colour="red")
    with pytest.raises(UnreadableImageError, match="damaged"):
        make_thumbnail(BytesIO(content[: len(content) * 2 // 3]))
