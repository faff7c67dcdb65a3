"""Resampling of planes that no network sees."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LANCZOS = 3
"""Pixels to each side that an interpolated one depends on."""


def enlarge_plane(plane: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Enlarge one channel by Lanczos interpolation.

    Args:
        plane: ``(H, W)`` in [0, 1].
        scale: Whole factor.

    Returns:
        ``(scale*H, scale*W)``, cut to [0, 1].
    """
    height, width = plane.shape
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    large = image.resize((width * scale, height * scale), Image.Resampling.LANCZOS)
    return np.clip(np.asarray(large, np.float32), 0, 1)


def enlarge_rows(
    plane: NDArray[np.float32], scale: int, top: int, bottom: int
) -> NDArray[np.float32]:
    """Some rows of what `enlarge_plane` gives.

    Args:
        plane: ``(H, W)`` in [0, 1].
        scale: Whole factor.
        top: First row of the large plane.
        bottom: Behind the last.

    Returns:
        ``(bottom - top, scale*W)``.
    """
    first = max(top // scale - LANCZOS, 0)
    last = min(-(-bottom // scale) + LANCZOS, len(plane))
    rows = enlarge_plane(plane[first:last], scale)
    return rows[top - first * scale : bottom - first * scale]


def resize(
    pixels: NDArray[np.float32], size: tuple[int, int], *, limits: bool = True
) -> NDArray[np.float32]:
    """Another size, by Lanczos interpolation, with antialiasing where it is smaller.

    Args:
        pixels: ``(H, W, C)`` in [0, 1].
        size: Width and height of the result.
        limits: Whether to cut the result to [0, 1].

    Returns:
        ``(height, width, C)``.
    """
    width, height = size
    resized = np.empty((height, width, pixels.shape[2]), np.float32)
    for channel in range(pixels.shape[2]):
        image = Image.fromarray(np.ascontiguousarray(pixels[..., channel], np.float32))
        resized[..., channel] = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    return np.clip(resized, 0, 1, out=resized) if limits else resized


def scaled(side: int, factor: float) -> int:
    """A side of a picture that is enlarged by any factor; at least 1, at most `sys.maxsize`."""
    return max(1, round(min(side * factor, sys.maxsize)))
