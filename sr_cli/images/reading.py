"""Files to pictures."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin

from sr_cli.images import colour, exif
from sr_cli.images.colour import Samples
from sr_cli.images.picture import (
    ColorModel,
    Floats,
    Metadata,
    Picture,
    PictureError,
    PixelLimitError,
)
from sr_cli.images.quiet import quiet

MAX_PIXELS = 200_000_000
"""Most pixels of a picture that is read without being asked to: 800 MB of floats a channel."""

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
_X_RESOLUTION = 282
_SAID = ("Software", "XML:com.adobe.xmp")
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432, 34665, 34853)
"""Tags of a TIFF file that describe the picture, not the way its pixels are laid out."""
# Some formats have canvases that are blank but for a small frame, so that a few damaged bytes cost
# gigabytes. Pictures that are not almost blank are never packed as densely as this.
_DENSEST = 5000  # pixels a byte
_SMALL = 25_000_000  # pixels that are affordable in any case
_HEAD = 512
_DAMAGED = "the picture is damaged or cut short"


def read(source: Path | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture: upright, in sRGB, with its metadata aside.

    The format is told from the content, not from the name. Of several frames or pages the first is
    read, and a note says so.

    Args:
        source: A file, or a stream at its beginning.
        max_pixels: Larger pictures are refused before their pixels are decoded.

    Raises:
        PictureError: For whatever reason there is no whole picture to be had.
    """
    data = _bytes_of(source)
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    with quiet(max_pixels, muted=is_loud(data)):
        try:
            return _decoded(data, suffix, max_pixels)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            limit = _too_large(max_pixels)
            raise PictureError(f"the picture is {limit} (--max-pixels)") from error
        except MemoryError as error:
            raise PictureError("there is not enough memory to read the picture") from error
        except Exception as error:
            if str(error) == "unknown pixel mode":  # what Pillow says of rare kinds of TIFF
                raise PictureError("its kind of pixels is not one that can be read") from error
            # Decoders that meet damaged bytes raise almost anything: OSError, SyntaxError,
            # struct.error, KeyError, OverflowError, zlib.error and more.
            raise PictureError(_DAMAGED) from error


def is_loud(data: bytes) -> bool:
    """Whether a library that writes to standard error by itself decodes it: of TIFF or AVIF."""
    return data[:2] in (b"II", b"MM") or data[4:8] == b"ftyp"


def _bytes_of(source: Path | BinaryIO) -> bytes:
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except FileNotFoundError as error:
        raise PictureError("there is no such file") from error
    except IsADirectoryError as error:
        raise PictureError("this is a folder, not a picture") from error
    except PermissionError as error:
        if isinstance(source, Path) and source.is_dir():  # how Windows says it
            raise PictureError("this is a folder, not a picture") from error
        raise PictureError("the file may not be read: permission denied") from error
    except MemoryError as error:
        raise PictureError("there is not enough memory to read the file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"the file cannot be read: {reason}") from error
    if not data:
        raise PictureError("the file is empty")
    return data


def _decoded(data: bytes, suffix: str, max_pixels: int) -> Picture:
    image = opened(io.BytesIO(data))
    check_header(image, max_pixels, len(data))
    source_format = FORMATS[image.format or ""]
    described = _tiff_exif(image) if image.format == "TIFF" else None
    pixels = _pixels(image, data)
    block = described if image.format == "TIFF" else _exif(image)
    turn = exif.orientation(block) if block is not None else None
    if image.format == "TIFF":
        turn = 1  # Pillow has turned it, as its tags or else XMP say
    elif turn is not None:
        pixels = _upright(pixels, turn)
    icc = None if pixels.is_srgb else image.info.get("icc_profile") or None
    converted = colour.to_srgb(pixels.samples, pixels.model, icc)
    sound = _sound_exif(block)
    damaged = block is not None and sound is None
    metadata = Metadata(
        source_format=source_format,
        lossless=is_lossless(source_format, data, image),
        mode=pixels.mode,
        color_model=pixels.model,
        is_colourless=pixels.model == "rgb" and colour.is_colourless(pixels.samples),
        bit_depth=16 if pixels.samples.dtype == np.uint16 else 8,
        has_alpha=pixels.alpha is not None,
        icc_profile=converted.icc_profile,
        exif=sound,
        xmp=_xmp(image, turned=turn is not None),
        iptc=_iptc(image),
        dpi=_dpi(image),
        texts=_texts(image),
        notes=(
            *pixels.notes,
            *converted.notes,
            *(("its EXIF data are damaged and were left out",) if damaged else ()),
            *_frame_notes(data),
            *_name_notes(source_format, suffix),
        ),
    )
    return Picture(converted.rgb, _seen_alpha(pixels.alpha), metadata, converted.beyond)


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


def _not_a_picture(head: bytes) -> str:
    known = "JPEG, PNG, WebP, TIFF, GIF, AVIF, BMP or PNM"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return f"this is text, not a picture in {known}"
    return f"this is not a picture in {known}"


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
        words = f"the picture is {width} x {height}, {_too_large(max_pixels)}"
        raise PixelLimitError(words, width * height)
    if width * height > max(_SMALL, _DENSEST * length):
        raise PictureError(
            f"the picture is damaged: it says that it is {width} x {height}, more than its "
            f"{length:,} bytes can hold"
        )
    # Pillow leaves blank what no part of the file is said to hold. A film's canvas may be so.
    parts = [tile.extents for tile in image.tile if tile.extents is not None]
    if parts and image.format != "GIF":
        reach = max(part[2] for part in parts), max(part[3] for part in parts)
        tags: Any = getattr(image, "tag_v2", {})
        turned = tags.get(exif.ORIENTATION, 1) >= 5  # the size of a TIFF is that of the upright one
        across, down = reversed(reach) if turned else reach
        if across < width or down < height:
            raise PictureError(_DAMAGED)


def _too_large(max_pixels: int) -> str:
    return f"more than the limit of {max_pixels:,} pixels"


@dataclass(frozen=True)
class _Pixels:
    """What a decoder gave."""

    samples: Samples
    """(H, W, 1), (H, W, 3) or (H, W, 4), as `model` says."""
    model: ColorModel
    mode: str
    alpha: Samples | None = None
    """(H, W)."""
    notes: tuple[str, ...] = ()
    is_srgb: bool = False
    """Whether the colours are sRGB already."""


def _pixels(image: ImageFile.ImageFile, data: bytes) -> _Pixels:
    raw = _raw_mode(image)
    if image.mode in ("RGB", "RGBA") and _is_deep(image, raw):
        return _deep_color(image, data, raw)
    if (gray := deep_gray(image)) is not None:
        samples = gray[..., None]
        return _Pixels(samples, "gray", "I;16", _keyed(samples, image.info.get("transparency")))
    return _shallow(image)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Pillow's name for the layout of the pixels in the file; "" if there is none."""
    if not image.tile:
        return ""
    args = image.tile[0].args
    raw = args if isinstance(args, str) else args[0] if isinstance(args, tuple) and args else ""
    return raw if isinstance(raw, str) else ""


def _is_deep(image: ImageFile.ImageFile, raw: str) -> bool:
    if image.format == "TIFF" and _is_planar_deep(image):
        raise PictureError("its 16-bit channels lie in separate planes; save it interleaved")
    return ";16" in raw or _ppm_top(image) > 255


def _is_planar_deep(image: ImageFile.ImageFile) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(284, 1) == 2 and max(tags.get(258, (8,))) > 8)


def _ppm_top(image: ImageFile.ImageFile) -> int:
    """The value that means full light in a binary PPM that Pillow would cut to 8 bits, else 0."""
    if image.format != "PPM" or image.mode != "RGB" or image.tile[0].codec_name != "ppm":
        return 0
    args: Any = image.tile[0].args
    return int(args[1])


_OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def _deep_color(image: ImageFile.ImageFile, data: bytes, raw: str) -> _Pixels:
    """16-bit colours, of which Pillow keeps the high bytes only.

    It is asked twice: told that the numbers have the other byte order, it takes the low bytes for
    the high ones. Gray with alpha has as many bytes a pixel as RGBA, and is read as that.
    """
    info, top = image.info, _ppm_top(image)
    if raw == "LA;16B":
        halves: Samples = np.asarray(_retold(image, "RGBA")).astype(np.uint16)
        gray = _joined(halves[..., 0::2], halves[..., 1::2])
        return _Pixels(gray[..., :1], "gray", "LA;16", gray[..., 1])
    premultiplied = raw.startswith("RGBa")
    raw = "RGB;16B" if top else raw.replace("RGBa", "RGBA")
    high: Samples = np.asarray(_retold(image, raw)).astype(np.uint16)
    low = np.asarray(_retold(opened(io.BytesIO(data)), raw[:-1] + _OTHER_END[raw[-1]]))
    both = _joined(high, low)
    if top:
        if both.max() > top:
            raise PictureError(_DAMAGED)
        both = np.rint(both * (65535.0 / top)).astype(np.uint16)
    if both.shape[2] == 3:
        return _Pixels(both, "rgb", "RGB;16", _keyed(both, info.get("transparency")))
    alpha = both[..., 3]
    colours = _divided(both[..., :3], alpha) if premultiplied else both[..., :3]
    return _Pixels(colours, "rgb", "RGBA;16", alpha)


def _joined(high: Samples, low: Samples) -> Samples:
    """High and low bytes to 16-bit numbers."""
    return (high * np.uint16(256) + low).astype(np.uint16)


def _retold(image: ImageFile.ImageFile, raw: str) -> ImageFile.ImageFile:
    """The decoded image with the layout of its pixels named anew."""
    tiles = []
    for tile in image.tile:
        args = raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:])
        if tile.codec_name == "ppm":
            tile, args = tile._replace(codec_name="raw"), (raw, 0, 1)
        tiles.append(tile._replace(args=args))
    image.tile = tiles
    if raw == "RGBA":
        image._mode = "RGBA"
    image.load()
    return image


def _keyed(samples: Samples, key: object) -> Samples | None:
    """Alpha from the one colour that a PNG declares transparent."""
    if key is None:
        return None
    wanted = np.atleast_1d(np.asarray(key, dtype=np.int64))
    hidden = (samples == wanted).all(axis=2)
    return np.where(hidden, 0, 65535).astype(np.uint16)


def _divided(samples: Samples, alpha: Samples) -> Samples:
    share = np.maximum(alpha, 1).astype(np.float32)[..., None] / 65535
    return np.rint(np.minimum(samples / share, 65535)).astype(np.uint16)


def deep_gray(image: ImageFile.ImageFile) -> Samples | None:
    """The levels of a gray picture of more than 8 bits, of which Pillow makes no 8-bit ones.

    Args:
        image: From `opened`, or an `Image.open` of our formats.

    Returns:
        ``(H, W)``, 65535 for white; None of any other picture, which is then not decoded yet.

    Raises:
        PictureError: Nobody knows which of its numbers is white.
    """
    raw = _raw_mode(image)
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in _WHITE_KNOWN)):
        if image.mode in ("I", "F"):
            raise PictureError(
                "its pixels are 32-bit or signed numbers without a fixed white; save it with 16 "
                "bits"
            )
        return None
    tags: Any = getattr(image, "tag_v2", {})
    inverted = tags.get(262) == 0
    image.load()
    values: Samples = np.asarray(image).astype(np.uint16)
    if raw == "I;12":
        values = (values * np.uint16(16) + values // np.uint16(256)).astype(np.uint16)
    return 65535 - values if inverted else values


_WHITE_KNOWN = ("PPM", "PNG")
"""Formats whose pixels of 32 bits have 65535 for white."""
_GRAY_STEPS = {"L;2": 85, "L;4": 17}
"""Levels of 8 bits between two of a PNG with fewer."""


def _shallow(image: ImageFile.ImageFile) -> _Pixels:
    """8-bit pixels of whatever kind."""
    key, steps = image.info.get("transparency"), _GRAY_STEPS.get(_raw_mode(image))
    if steps is not None and isinstance(key, int):
        image.info["transparency"] = key * steps  # Pillow does so with the samples alone
    image.load()
    mode = image.mode
    if mode == "CMYK":
        return _Pixels(np.asarray(image), "cmyk", mode, notes=_ink_notes(image))
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        done = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return _Pixels(np.asarray(done), "rgb", mode, is_srgb=True)
    gray = mode in ("1", "L", "LA", "La")
    has_alpha = image.has_transparency_data
    target = ("LA" if has_alpha else "L") if gray else ("RGBA" if has_alpha else "RGB")
    pixels = np.atleast_3d(np.asarray(image if mode == target else image.convert(target)))
    if not has_alpha:
        return _Pixels(pixels, "gray" if gray else "rgb", mode)
    return _Pixels(pixels[..., :-1], "gray" if gray else "rgb", mode, pixels[..., -1])


def _ink_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    tags: Any = getattr(image, "tag_v2", {})
    deep = max(tags.get(258, (8,))) > 8
    return ("its 16-bit inks were read as 8 bits",) if deep else ()


def _upright(pixels: _Pixels, orientation: int) -> _Pixels:
    """The pixels as they should be seen (EXIF 2.32, tag 0x0112)."""

    def turned(array: Any) -> Any:
        if orientation >= 5:
            array = np.swapaxes(array, 0, 1)
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    if orientation == 1:
        return pixels
    alpha = None if pixels.alpha is None else turned(pixels.alpha)
    return dataclasses.replace(pixels, samples=turned(pixels.samples), alpha=alpha)


def _seen_alpha(alpha: Samples | None) -> Floats | None:
    """Alpha in [0, 1], or None where it hides nothing."""
    if alpha is None:
        return None
    top = 65535 if alpha.dtype == np.uint16 else 255
    return None if alpha.min() == top else alpha.astype(np.float32) / np.float32(top)


def is_lossless(source_format: str, data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether a file, of which `data` are the first bytes at least, keeps every pixel."""
    if source_format == "webp":
        return b"VP8L" in data[:4096] and b"VP8 " not in data[:64]
    if source_format == "tiff":
        return "jpeg" not in str(image.info.get("compression", ""))
    return source_format not in ("jpeg", "avif")


def _exif(image: ImageFile.ImageFile) -> bytes | None:
    block: Any = image.info.get("exif")
    if not block and "Raw profile type exif" in image.info:  # how ImageMagick put it into PNG
        block = image.getexif().tobytes()
    return bytes(block).removeprefix(b"Exif\0\0") if isinstance(block, bytes) and block else None


def _tiff_exif(image: ImageFile.ImageFile) -> bytes | None:
    """The descriptive tags of a TIFF file as a block of their own; before its pixels are read."""
    tags, kept = image.getexif(), Image.Exif()
    for tag in _TIFF_TAGS:
        if tag in tags:
            kept[tag] = tags.get_ifd(tag) if tag in (34665, 34853) else tags[tag]
    try:
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else None
    except Exception:  # Pillow reads tags that it cannot write; they are not worth the picture
        return None


def _sound_exif(block: bytes | None) -> bytes | None:
    """The block with its orientation applied, or None if it is damaged."""
    if block is None:
        return None
    try:
        return exif.upright(block)
    except ValueError:
        return None


def _xmp(image: ImageFile.ImageFile, *, turned: bool) -> bytes | None:
    """The packet.

    Args:
        image: Whose it is.
        turned: Whether the pixels are upright, so that it must no longer turn them.  Orientation
            that XMP alone tells is followed by some programs and not by others: pixels and packet
            stay as they are, and the result is shown in every program as the picture was.
    """
    packet: Any = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet:
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet) if turned else packet


_XMP_ORIENTATION = re.compile(
    rb"""(tiff:Orientation\s*=\s*["']|<tiff:Orientation>\s*)[1-8](?=\s*["'<])"""
)


def _iptc(image: ImageFile.ImageFile) -> bytes | None:
    tags: Any = getattr(image, "tag_v2", {})
    resources: Any = image.info.get("photoshop")
    found = resources.get(0x0404) if isinstance(resources, dict) else tags.get(33723)
    return found if isinstance(found, bytes) and found else None


def _texts(image: ImageFile.ImageFile) -> tuple[tuple[str, str], ...]:
    """A PNG's text fields, but for those that say what is said elsewhere."""
    if image.format != "PNG":
        return ()
    fields = (
        (str(name), value)
        for name, value in image.info.items()
        if isinstance(value, str) and name not in _SAID
    )
    return tuple((name, value) for name, value in fields if not name.startswith("Raw profile"))


def _dpi(image: ImageFile.ImageFile) -> tuple[float, float] | None:
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _X_RESOLUTION not in image.tag_v2:
        return None  # Pillow says 1 then
    try:
        # Formats that count in metres give 299.9994 for 300.
        across, down = (round(float(value), 1) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    sane = all(math.isfinite(value) and 0.0 < value < 1e5 for value in (across, down))
    return (across, down) if sane else None


def _frame_notes(data: bytes) -> tuple[str, ...]:
    try:
        frames = int(getattr(opened(io.BytesIO(data)), "n_frames", 1))
    except Exception:  # a later frame is damaged; the first one is whole, and it is what was read
        return ()
    return (f"only the first of {frames} frames was read",) if frames > 1 else ()


_ENDINGS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".avif": "avif",
    ".bmp": "bmp",
}


def _name_notes(source_format: str, suffix: str) -> tuple[str, ...]:
    if _ENDINGS.get(suffix, source_format) == source_format:
        return ()
    return (f"its name ends in {suffix} but it is a {source_format} picture",)
