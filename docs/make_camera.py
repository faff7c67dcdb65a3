"""Spoil photographs as one camera would, to try what is learned of it: docs/training.md, "PDM".

    python docs/make_camera.py --data train/ --val val/ --out camera/

makes ``sharp/`` (two of every three photographs), ``low/`` (the third one, spoiled) and ``val/``
(LR and HR of the held-out ones).  The lens blurs by a Gaussian that leans to one side and is a
little another every time, a small pixel is the mean of 4x4, read noise has a deviation of 3 levels,
shot noise one of 6 in white.  None of this is known to what learns from the pictures.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.operators import blur, quantise, resize
from sr_cli.images import Picture, find_pictures, write
from sr_cli.metrics.evaluation import picture_tensor

SCALE = 4
DOWN, ACROSS, THETA = 3.0, 1.6, 0.5
"""Widths of the lens's Gaussian in high-resolution pixels, a fifth more or less, and its angle."""
READ, SHOT = 3 / 255, 6e-4
"""Deviation of read noise; variance of shot noise in white."""


def spoiled(hr: Tensor, seed: int) -> Tensor:
    """A photograph ``(1, 3, H, W)`` in [0, 1], sides divisible by four, as the camera takes it."""
    generator = torch.Generator().manual_seed(seed)
    one = torch.ones(1)

    def about(width: float) -> Tensor:
        return width * (0.8 + 0.4 * torch.rand(1, generator=generator))

    kernel = kernels.blur_kernels(
        kernels.GAUSSIAN * one,
        about(DOWN),
        about(ACROSS),
        THETA * one,
        one,
        one,
        10 * one,
        squared_radius=False,
    )
    small = hr.shape[-2] // SCALE, hr.shape[-1] // SCALE
    x = resize(blur(hr, kernel), small, "area")
    noise = torch.randn(x.shape, generator=generator)
    return quantise(x + noise * (READ**2 + SHOT * x).clamp(min=0).sqrt())


def _read(path: Path) -> Tensor:
    picture = picture_tensor(path)
    height, width = (side // SCALE * SCALE for side in picture.shape[-2:])
    return picture[None, :, :height, :width]


def _write(picture: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Picture(picture[0].permute(1, 2, 0).numpy()), path)


def main() -> None:
    """The command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for number, path in enumerate(find_pictures(options.data, recursive=True)):
        if number % 3:
            (options.out / "sharp").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, options.out / "sharp" / path.name)
        else:
            _write(spoiled(_read(path), number), options.out / "low" / f"{path.stem}.png")
    for number, path in enumerate(find_pictures(options.val, recursive=True)):
        hr = _read(path)
        _write(hr, options.out / "val" / "HR" / f"{path.stem}.png")
        _write(spoiled(hr, 1000 + number), options.out / "val" / "LR" / f"{path.stem}.png")


if __name__ == "__main__":
    main()
