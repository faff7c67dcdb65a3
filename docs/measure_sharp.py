"""What models make of sharp pictures: photographs that are shrunk, and nothing else.

    python docs/measure_sharp.py --data val/ > docs/results/sharp.json

The middle of each photograph (``--side``) is shrunk in three ways, rounded to 8 bits and enlarged;
PSNR-Y over bicubic interpolation, picture by picture.  Models of x4 stand among those of x2, too,
as ``upscale --outscale 2`` uses them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.operators import quantise
from sr_cli.images.discovery import find_pictures
from sr_cli.inference.resampling import resize
from sr_cli.metrics.evaluation import picture_tensor
from sr_cli.metrics.fidelity import psnr_y
from sr_cli.opening import OpenModel, open_model

MODELS: Mapping[int, tuple[str, ...]] = {
    2: ("dan-blur-x2", "dan-real-x4"),
    4: ("dan-blur-x4", "dan-real-x4"),
}
"""By the enlargement that is measured."""
BORDER = 4
"""Pixels of the large picture that count for nothing on each side, as in most protocols."""


def _lanczos(hr: Tensor, scale: int) -> Tensor:
    levels = (hr.permute(1, 2, 0) * 255).round().byte().numpy()
    size = levels.shape[1] // scale, levels.shape[0] // scale
    small = Image.fromarray(levels).resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


REDUCTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "means": lambda hr, scale: quantise(functional.avg_pool2d(hr, scale)),
    "bicubic": lambda hr, scale: quantise(imresize(hr, Fraction(1, scale))),
    "Lanczos": _lanczos,
}


def enlarged(opened: OpenModel, lr: Tensor, scale: int) -> Tensor:
    """By a model, and to the wanted size as ``--outscale`` does it."""
    rgb = opened.engine.upscale(lr.permute(1, 2, 0).contiguous().numpy()).rgb
    if opened.scale != scale:
        rgb = resize(rgb, (scale * lr.shape[2], scale * lr.shape[1]))
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)


def _quality(sr: Tensor, hr: Tensor) -> float:
    return float(psnr_y(sr.unsqueeze(0), hr.unsqueeze(0), BORDER))


def _middle(picture: Tensor, side: int) -> Tensor:
    top, left = (max(0, (length - side) // 2) for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="sharp pictures")
    parser.add_argument("--side", type=int, default=256, help="of what is taken of each")
    parser.add_argument("--model", action="append", help="all if not given; names or files")
    options = parser.parse_args()
    answer: dict[str, object] = {"data": options.data.resolve().name, "side": options.side}
    paths = find_pictures(options.data, recursive=False)
    pictures = [_middle(picture_tensor(path), options.side) for path in paths]
    for scale, usual in MODELS.items():
        found: dict[str, dict[str, dict[str, float]]] = {}
        models = [open_model(name, "cpu", "fp32") for name in options.model or usual]
        for way, shrink in REDUCTIONS.items():
            gains: dict[str, list[float]] = {one.name: [] for one in models}
            for picture in pictures:
                height, width = (side // scale * scale for side in picture.shape[1:])
                hr = picture[:, :height, :width]
                lr = shrink(hr, scale)
                plain = _quality(imresize(lr, scale), hr)
                for one in models:
                    gains[one.name].append(_quality(enlarged(one, lr, scale), hr) - plain)
            found[way] = {name: _described(values) for name, values in gains.items()}
        answer[f"x{scale}"] = found
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")


def _described(gains: list[float]) -> dict[str, float]:
    """Their mean with its standard error, the worst, and on how many pictures there is a loss."""
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    return {
        "gain": round(float(np.mean(gains)), 3),
        "error": round(error, 3),
        "worst": round(min(gains), 2),
        "worse": sum(gain < 0 for gain in gains),
        "pictures": len(gains),
    }


if __name__ == "__main__":
    main()
