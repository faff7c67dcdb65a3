"""Overlapping tiles, blended: for networks that look at the whole picture in every block.

Every tile is processed as if it were the picture, so each has an estimate of its own, and the
result differs from the full frame's.  Wide overlaps and a gradual passage from one tile to the next
keep that from showing as seams.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sr_cli.inference.backend import Array, Backend
from sr_cli.inference.errors import diverged
from sr_cli.inference.tiles import Window, band_windows
from sr_cli.inference.walk import Tiling

OVERLAP = 32
"""Pixels of the input that a tile reaches beyond its own on every side."""


def blended(
    backend: Backend,
    rgb: NDArray[np.float32],
    tiling: Tiling,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, int]:
    """Enlarge a picture by overlapping tiles.

    Args:
        backend: Whose network runs.
        rgb: ``(H, W, 3)`` in [0, 1].
        tiling: Tiles without their overlap.
        progress: Called with the tiles done, and how many there are.

    Returns:
        ``(scale*H, scale*W, 3)`` in [0, 1]; the tiles' vectors averaged by area, if any; and how
        many tiles there were.

    Raises:
        InferenceError: The network gives something that is not finite.
    """
    height, width = rgb.shape[:2]
    scale = backend.scale
    total = np.zeros((height * scale, width * scale, 3), np.float32)
    weights = np.zeros((height * scale, width * scale, 1), np.float32)
    vector: NDArray[np.float32] | None = None
    windows = list(band_windows((height, width), 0, height, tiling.side, OVERLAP))
    for number, window in enumerate(windows):
        picture = backend.load(rgb[window.outer])
        sr, estimate = backend.run_whole(picture)
        if backend.precision == "fp16" and not _is_finite(backend, sr, estimate):
            tiling.redone += 1
            sr, estimate = backend.run_whole(picture, careful=True)
        if not _is_finite(backend, sr, estimate):
            raise diverged(backend.model, "fp32")
        weight = _weight(window, (height, width), scale)
        place = tuple(slice(s.start * scale, s.stop * scale) for s in window.outer)
        total[place] += backend.numpy(sr)[0].transpose(1, 2, 0) * weight
        weights[place] += weight
        if estimate is not None:
            area = (window.bottom - window.top) * (window.right - window.left)
            part = backend.numpy(estimate).reshape(-1) * np.float32(area / (height * width))
            vector = part if vector is None else vector + part
        if progress:
            progress(number + 1, len(windows))
    total /= weights
    tiling.extent.saw(total)
    return np.clip(total, 0, 1, out=total), vector, len(windows)


def _is_finite(backend: Backend, sr: Array, estimate: Array | None) -> bool:
    return backend.is_finite(sr) and (estimate is None or backend.is_finite(estimate))


def _weight(window: Window, shape: tuple[int, int], scale: int) -> NDArray[np.float32]:
    """``(h, w, 1)``: 1 in the middle, falling towards edges that other tiles reach over."""
    rows = _ramp(window.outer_top, window.outer_bottom, shape[0], scale)
    columns = _ramp(window.outer_left, window.outer_right, shape[1], scale)
    return (rows[:, None] * columns[None, :])[..., None]


def _ramp(first: int, last: int, size: int, scale: int) -> NDArray[np.float32]:
    length = (last - first) * scale
    ramp = np.ones(length, np.float32)
    rise = (np.arange(min(2 * OVERLAP * scale, length), dtype=np.float32) + 0.5) / (
        2 * OVERLAP * scale
    )
    if first > 0:
        ramp[: len(rise)] = np.minimum(ramp[: len(rise)], rise)
    if last < size:
        ramp[::-1][: len(rise)] = np.minimum(ramp[::-1][: len(rise)], rise)
    return ramp
