"""Small pictures of a detail, for reports; transparent pixels lie on white in them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sr_cli.images.picture import Floats
from sr_cli.images.transparency import on_white

SIDE = 128
"""Of the detail, in pixels of the smaller picture."""
QUALITY = 88
_AROUND = 16
"""Pixels around a detail that count for its enlargement, and for a reduction to an eighth."""
LOOKED_AT = 2048
"""Side of the middle of a picture in which a detail is looked for: sums of it all would take more
memory than the picture."""


def busiest(
    rgb: Floats, alpha: Floats | None = None, side: int = SIDE
) -> tuple[int, int, int, int]:
    """Where a picture has most detail, within its middle.

    Args:
        rgb: (H, W, 3) in [0, 1].
        alpha: (H, W), or None where all is opaque.
        side: Of the square to find.

    Returns:
        Top, bottom, left and right; smaller than the square if the picture is.
    """
    above, before = (max(0, length - LOOKED_AT) // 2 for length in rgb.shape[:2])
    middle = slice(above, above + LOOKED_AT), slice(before, before + LOOKED_AT)
    gray = seen(rgb, alpha, middle).mean(2)
    height, width = gray.shape
    tall, wide = min(side, height), min(side, width)
    energy = np.zeros((height + 1, width + 1))
    steps = np.abs(np.diff(gray, axis=0, prepend=gray[:1]))
    steps += np.abs(np.diff(gray, axis=1, prepend=gray[:, :1]))
    energy[1:, 1:] = steps.cumsum(0, dtype=np.float64).cumsum(1)
    sums = energy[tall:, wide:] - energy[:-tall, wide:] - energy[tall:, :-wide]
    sums += energy[:-tall, :-wide]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    top, left = int(top) + above, int(left) + before
    return top, top + tall, left, left + wide


def enlarged_detail(
    rgb: Floats, alpha: Floats | None, place: tuple[int, int, int, int], size: tuple[int, int]
) -> bytes:
    """A detail enlarged by bicubic interpolation, as a JPEG.

    Args:
        rgb: (H, W, 3) in [0, 1].
        alpha: (H, W), or None where all is opaque.
        place: Top, bottom, left and right.
        size: Width and height of the result.
    """
    top, bottom, left, right = place
    # No more of the picture than the filter sees: it may be very large.
    above, before = max(top - _AROUND, 0), max(left - _AROUND, 0)
    around = slice(above, bottom + _AROUND), slice(before, right + _AROUND)
    image = _image(seen(rgb, alpha, around))
    box = (left - before, top - above, right - before, bottom - above)
    return _jpeg(image.resize(size, Image.Resampling.BICUBIC, box=box))


def detail(rgb: Floats) -> bytes:
    """A detail as it is, as a JPEG.

    Args:
        rgb: (h, w, 3) in [0, 1], on white already.
    """
    return _jpeg(_image(rgb))


def seen(rgb: Floats, alpha: Floats | None, part: tuple[slice, slice]) -> Floats:
    """Some rows and columns of a picture, on white."""
    return on_white(rgb[part], None if alpha is None else alpha[part])


def _image(rgb: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()
