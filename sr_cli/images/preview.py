"""Small pictures of a detail, for reports."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sr_cli.images.picture import Floats

SIDE = 128
"""Of the detail, in pixels of the smaller picture."""
QUALITY = 88
_AROUND = 16
"""Pixels around a detail that count for its enlargement, and for a reduction to an eighth."""
LOOKED_AT = 2048
"""Side of the middle of a picture in which a detail is looked for: sums of it all would take more
memory than the picture."""


def busiest(rgb: Floats, side: int = SIDE) -> tuple[int, int, int, int]:
    """Where a picture has most detail, within its middle.

    Args:
        rgb: (H, W, 3) in [0, 1].
        side: Of the square to find.

    Returns:
        Top, bottom, left and right; smaller than the square if the picture is.
    """
    above, before = (max(0, length - LOOKED_AT) // 2 for length in rgb.shape[:2])
    rgb = rgb[above : above + LOOKED_AT, before : before + LOOKED_AT]
    height, width = rgb.shape[:2]
    tall, wide = min(side, height), min(side, width)
    gray = rgb.mean(2)
    energy = np.zeros((height + 1, width + 1))
    steps = np.abs(np.diff(gray, axis=0, prepend=gray[:1]))
    steps += np.abs(np.diff(gray, axis=1, prepend=gray[:, :1]))
    energy[1:, 1:] = steps.cumsum(0, dtype=np.float64).cumsum(1)
    sums = energy[tall:, wide:] - energy[:-tall, wide:] - energy[tall:, :-wide]
    sums += energy[:-tall, :-wide]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    top, left = int(top) + above, int(left) + before
    return top, top + tall, left, left + wide


def enlarged_detail(rgb: Floats, place: tuple[int, int, int, int], size: tuple[int, int]) -> bytes:
    """A detail enlarged by bicubic interpolation, as a JPEG.

    Args:
        rgb: (H, W, 3) in [0, 1].
        place: Top, bottom, left and right.
        size: Width and height of the result.
    """
    top, bottom, left, right = place
    # No more of the picture than the filter sees: it may be very large.
    above, before = max(top - _AROUND, 0), max(left - _AROUND, 0)
    image = _image(rgb[above : bottom + _AROUND, before : right + _AROUND])
    box = (left - before, top - above, right - before, bottom - above)
    return _jpeg(image.resize(size, Image.Resampling.BICUBIC, box=box))


def detail(rgb: Floats, place: tuple[int, int, int, int]) -> bytes:
    """A detail as it is, as a JPEG; arguments as of `enlarged_detail`."""
    top, bottom, left, right = place
    return _jpeg(_image(rgb[top:bottom, left:right]))


def _image(rgb: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()
