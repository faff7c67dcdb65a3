"""Pictures that show a quantiser which values to expect: crops, degraded as in training."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sr_cli.degradation.repeatable import RepeatableTwoStage, seed_for
from sr_cli.degradation.two_stage import SMALLEST_SIDE
from sr_cli.images import PictureError, find_pictures, read
from sr_cli.inference.errors import InferenceError

Floats = NDArray[np.float32]

SIDE = 96
"""Of a crop that has been degraded."""
MOST = 16


def bundled(scale: int) -> Iterator[Floats]:
    """Crops of the few photographs that are part of the program; see `crops`."""
    return crops(Path(str(resources.files("sr_cli") / "export" / "pictures")), scale)


def crops(folder: Path, scale: int, most: int = MOST) -> Iterator[Floats]:
    """Low-resolution crops of a folder's photographs.

    Args:
        folder: High-resolution pictures.
        scale: How much smaller the crops are to be.
        most: How many to make.

    Yields:
        ``(SIDE, SIDE, 3)`` each, in [0, 1]; smaller from pictures that are.

    Raises:
        InferenceError: There is no picture.
    """
    paths = find_pictures(folder, recursive=True) if folder.is_dir() else []
    model = RepeatableTwoStage(scale, "physical")
    random = np.random.default_rng(0)
    made = 0
    for number in range(most if paths else 0):
        path = paths[number * len(paths) // most]
        try:
            rgb = read(path).rgb
        except PictureError:
            continue
        height, width = (min(side // scale, SIDE) * scale for side in rgb.shape[:2])
        if min(height, width) < SMALLEST_SIDE:
            continue
        top = int(random.integers(rgb.shape[0] - height + 1))
        left = int(random.integers(rgb.shape[1] - width + 1))
        part = np.ascontiguousarray(rgb[top : top + height, left : left + width].transpose(2, 0, 1))
        lr, _ = model.degrade(torch.from_numpy(part), seed_for(path.name, number))
        made += 1
        yield np.ascontiguousarray(lr.permute(1, 2, 0).numpy())
    if not made:
        raise InferenceError(f"There is no picture in {folder} that calibration could use.")
