"""Thumbnails of pictures that strangers made."""

from io import BytesIO
from typing import IO, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
# A small file can claim to be a huge picture; its pixels are not read above this.
MAX_PIXELS = 50_000_000
SIZE = (480, 480)


class UnreadableImageError(Exception):
    """The file is a picture, but no thumbnail can be made. The text is for people."""


class Thumbnail(NamedTuple):
    """A small WebP picture, and the media type of the picture that it was made from."""

    content: bytes
    original_type: str


def make_thumbnail(file: IO[bytes]) -> Thumbnail | None:
    """Return a thumbnail of `file`, or None if it is no picture of a kind we read.

    The picture stands upright, and only its pixels are copied: no EXIF, no place,
    no camera. Raises `UnreadableImageError` for a damaged or much too large picture.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            original_type = Image.MIME[str(image.format)]
            image.thumbnail(SIZE, reducing_gap=2.0)
            upright = ImageOps.exif_transpose(image)
            mode = "RGBA" if upright.has_transparency_data else "RGB"
            pixels = Image.new(mode, upright.size)
            pixels.paste(upright.convert(mode))
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(
            f"The picture has more than {MAX_PIXELS // 1_000_000} million pixels."
        ) from error
    # Decoders raise many kinds of error for damaged input.
    except Exception as error:
        raise UnreadableImageError("The picture is damaged.") from error
    content = BytesIO()
    pixels.save(content, "WEBP")
    return Thumbnail(content.getvalue(), original_type)
