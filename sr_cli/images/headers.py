"""What a file claims to be: told from its header, before anything is decoded."""

from __future__ import annotations

import codecs
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from sr_cli.images import exif
from sr_cli.images.picture import PictureError, PixelLimitError

# Only these decoders are tried: others, such as EPS, run programs or hold no photographs.
FORMATS = {
    "PNG": "png",
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "WEBP": "webp",
    "TIFF": "tiff",
    "GIF": "gif",
    "AVIF": "avif",
    "BMP": "bmp",
    "PPM": "pnm",
}
# Some formats have canvases that are blank but for a small frame, so that a few damaged bytes cost
# gigabytes. Pictures that are not almost blank are never packed as densely as this.
_DENSEST = 5000  # pixels a byte
_SMALL = 25_000_000  # pixels that are affordable in any case
_HEAD = 512

DAMAGED = "the picture is damaged or cut short"


def is_loud(data: bytes) -> bool:
    """Whether a library that writes to standard error by itself decodes it: of TIFF or AVIF."""
    return data[:2] in (b"II", b"MM") or data[4:8] == b"ftyp"


def opened(stream: BinaryIO) -> ImageFile.ImageFile:
    """The decoder that knows the bytes; it has read no more than a header.

    Not `Image.open`, which refuses large pictures without telling their size.

    Args:
        stream: At its beginning, and open as long as the decoder is used.

    Raises:
        PictureError: None does.
    """
    Image.init()
    head = stream.read(_HEAD)
    if kind := other_kind(head):  # before AVIF's decoder, which takes some HEIC for damaged AVIF
        raise _not_read(kind)
    for name in FORMATS:
        if name not in Image.OPEN:  # AVIF is missing from some builds; MPO opens as JPEG
            continue
        factory, accept = Image.OPEN[name]
        if accept is None or accept(head[:16]) is not True:
            continue
        stream.seek(0)
        try:
            return factory(stream, "")
        except SyntaxError as error:
            if "not identified" in str(error):  # a header without a size or a mode
                raise PictureError("the picture is damaged or has no pixels") from error
            raise
    raise PictureError(_not_a_picture(head))


_SIGNATURES = {
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS\0": "PSD",
    b"II*\0\x10\0\0\0CR": "CR2",
    b"IIRO\x08\0": "ORF",
    b"IIU\0": "RW2",
    b"FUJIFILMCCD-RAW": "RAF",
}
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF = frozenset((b"avif", b"avis"))


def _not_read(kind: str) -> PictureError:
    return PictureError(
        f"this is a picture in {kind}, which is not read here; convert it to JPEG or PNG"
    )


def other_kind(head: bytes) -> str | None:
    """The kind of a picture that is not read, if its first bytes tell it."""
    if head[4:8] == b"ftyp":
        box = head[8 : int.from_bytes(head[:4])]
        brands = {box[at : at + 4] for at in (0, *range(8, len(box), 4))}
        return "HEIC" if brands & _HEIC and not brands & _AVIF else None
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_drawing = text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text)
    return "SVG" if is_drawing else None


def _not_a_picture(head: bytes) -> str:
    known = "JPEG, PNG, WebP, TIFF, GIF, AVIF, BMP or PNM"
    if _is_text(head):
        return f"this is text, not a picture in {known}"
    return f"this is not a picture in {known}"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end within a letter
    except UnicodeDecodeError:
        return False
    return all(letter >= " " or letter in "\t\n\r\f" for letter in text)


def check_header(image: ImageFile.ImageFile, max_pixels: int, length: int) -> None:
    """Refuses a picture for what its header claims, before it is decoded.

    Args:
        image: From `opened`.
        max_pixels: Most pixels that are wanted.
        length: Bytes of the file.

    Raises:
        PixelLimitError: It has too many pixels.
        PictureError: It has none, or more than can be true.
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"the picture has no pixels: it is {width} x {height}")
    if width * height > max_pixels:
        words = f"the picture is {width} x {height}, {too_large(max_pixels)}"
        raise PixelLimitError(words, width * height)
    if width * height > max(_SMALL, _DENSEST * length):
        raise PictureError(
            f"the picture is damaged: it says that it is {width} x {height}, more than its "
            f"{length:,} bytes can hold"
        )
    if image.format == "TIFF" and _is_raw(image):
        raise _not_read("a camera's raw format")
    # Pillow leaves blank what no part of the file is said to hold. A film's canvas may be so.
    parts = [tile.extents for tile in image.tile if tile.extents is not None]
    if parts and image.format != "GIF":
        reach = max(part[2] for part in parts), max(part[3] for part in parts)
        tags: Any = getattr(image, "tag_v2", {})
        turned = tags.get(exif.ORIENTATION, 1) >= 5  # the size of a TIFF is that of the upright one
        across, down = reversed(reach) if turned else reach
        if across < width or down < height:
            raise PictureError(DAMAGED)


_DNG_VERSION, _SUBFILE_TYPE, _SUB_IFDS = 50706, 254, 330


def _is_raw(image: ImageFile.ImageFile) -> bool:
    """Whether a TIFF file is a camera's negative, of which the first picture is a thumbnail."""
    tags: Any = getattr(image, "tag_v2", {})
    is_thumbnail = bool(tags.get(_SUBFILE_TYPE, 0) & 1)
    return _DNG_VERSION in tags or (is_thumbnail and _SUB_IFDS in tags)


def too_large(max_pixels: int) -> str:
    """What is wrong with a picture of more pixels, in words."""
    return f"more than the limit of {max_pixels:,} pixels"


def is_lossless(source_format: str, data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether a file, of which `data` are the first bytes at least, keeps every pixel."""
    if source_format == "webp":
        return b"VP8L" in data[:4096] and b"VP8 " not in data[:64]
    if source_format == "tiff":
        return "jpeg" not in str(image.info.get("compression", ""))
    return source_format not in ("jpeg", "avif")
