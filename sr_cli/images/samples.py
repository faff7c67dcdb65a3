"""What a decoder gives: a picture's samples in 8 or 16 bits, and what hides parts of it."""

from __future__ import annotations

import dataclasses
import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ImageCms, ImageFile

from sr_cli.images.colour import Samples
from sr_cli.images.headers import DAMAGED, opened
from sr_cli.images.picture import ColorModel, PictureError


@dataclass(frozen=True)
class Pixels:
    """What a decoder gave."""

    samples: Samples
    """(H, W, 1), (H, W, 3) or (H, W, 4), as `model` says."""
    model: ColorModel
    alpha: Samples | None = None
    """(H, W)."""
    notes: tuple[str, ...] = ()
    is_srgb: bool = False
    """Whether the colours are sRGB already."""


def decoded(image: ImageFile.ImageFile, data: bytes) -> Pixels:
    """All bits of a picture that the file has.

    Args:
        image: From `opened`.
        data: The file, of which 16-bit colours are decoded twice.

    Raises:
        PictureError: Its kind of pixels is not one that can be read.
    """
    raw = _raw_mode(image)
    if image.mode in ("RGB", "RGBA") and _is_deep(image, raw):
        return _deep_color(image, data, raw)
    if (gray := deep_gray(image)) is not None:
        samples = gray[..., None]
        return Pixels(samples, "gray", _keyed(samples, image.info.get("transparency")))
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


def _deep_color(image: ImageFile.ImageFile, data: bytes, raw: str) -> Pixels:
    """16-bit colours, of which Pillow keeps the high bytes only.

    It is asked twice: told that the numbers have the other byte order, it takes the low bytes for
    the high ones. Gray with alpha has as many bytes a pixel as RGBA, and is read as that.
    """
    info, top = image.info, _ppm_top(image)
    if raw == "LA;16B":
        halves: Samples = np.asarray(_retold(image, "RGBA")).astype(np.uint16)
        gray = _joined(halves[..., 0::2], halves[..., 1::2])
        return Pixels(gray[..., :1], "gray", gray[..., 1])
    premultiplied = raw.startswith("RGBa")
    raw = "RGB;16B" if top else raw.replace("RGBa", "RGBA")
    high: Samples = np.asarray(_retold(image, raw)).astype(np.uint16)
    low = np.asarray(_retold(opened(io.BytesIO(data)), raw[:-1] + _OTHER_END[raw[-1]]))
    both = _joined(high, low)
    if top:
        if both.max() > top:
            raise PictureError(DAMAGED)
        both = np.rint(both * (65535.0 / top)).astype(np.uint16)
    if both.shape[2] == 3:
        return Pixels(both, "rgb", _keyed(both, info.get("transparency")))
    alpha = both[..., 3]
    colours = _divided(both[..., :3], alpha) if premultiplied else both[..., :3]
    return Pixels(colours, "rgb", alpha)


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
        image: From `opened`.

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


def _shallow(image: ImageFile.ImageFile) -> Pixels:
    """8-bit pixels of whatever kind."""
    key, steps = image.info.get("transparency"), _GRAY_STEPS.get(_raw_mode(image))
    if steps is not None and isinstance(key, int):
        image.info["transparency"] = key * steps  # Pillow does so with the samples alone
    image.load()
    mode = image.mode
    if mode == "CMYK":
        return Pixels(np.asarray(image), "cmyk", notes=_ink_notes(image))
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        done = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return Pixels(np.asarray(done), "rgb", is_srgb=True)
    gray = mode in ("1", "L", "LA", "La")
    has_alpha = image.has_transparency_data
    target = ("LA" if has_alpha else "L") if gray else ("RGBA" if has_alpha else "RGB")
    pixels = np.atleast_3d(np.asarray(image if mode == target else image.convert(target)))
    if not has_alpha:
        return Pixels(pixels, "gray" if gray else "rgb")
    return Pixels(pixels[..., :-1], "gray" if gray else "rgb", pixels[..., -1])


def _ink_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    tags: Any = getattr(image, "tag_v2", {})
    deep = max(tags.get(258, (8,))) > 8
    return ("its 16-bit inks were read as 8 bits",) if deep else ()


def upright(pixels: Pixels, orientation: int) -> Pixels:
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
