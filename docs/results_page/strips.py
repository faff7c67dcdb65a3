"""Pictures for people: what goes in, bicubic interpolation, the model, and the truth if known."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sr_cli.degradation.bicubic import imresize
from sr_cli.images import find_pictures
from sr_cli.inference.torch_backend import torch_engine
from sr_cli.metrics.evaluation import picture_tensor
from sr_cli.metrics.protocols import PROTOCOLS
from sr_cli.zoo.loading import load

Pixels = NDArray[np.uint8]
Upscale = Callable[[torch.Tensor], torch.Tensor]

SHOWN = ("04.png", "05.png", "12.png", "19.png")
"""Pictures of `val` that the page shows: fine lines, fur, people, bricks."""
SIDE = 56
"""Of what is cut out, in pixels of the input."""
GAP = 4
CAPTION = 16


def of_degraded(model: str, folder: Path, protocol: str, path: Path, limit: int) -> None:
    """A row a picture: input, bicubic, model, truth; a JPEG of at most so many bytes."""
    upscale, scale = _model(model)
    condition = PROTOCOLS[protocol].at(scale).conditions[0]
    rows: list[list[Pixels]] = []
    for name in SHOWN:
        hr = picture_tensor(folder / name)
        case = condition.degrade(name, hr, 0)
        assert case.hr is not None
        large = (imresize(case.lr, scale), upscale(case.lr), case.hr)
        rows.append(_row(case.lr, large, scale))
    for quality in range(80, 0, -5):
        _page(rows, ("input", "bicubic", model, "truth"), path, quality=quality)
        if path.stat().st_size <= limit:
            return


def of_real(model: str, folder: Path, path: Path) -> None:
    """A row a picture without truth: input, bicubic, model.  Not for the repository."""
    upscale, scale = _model(model)
    rows = [
        _row(lr, (imresize(lr, scale), upscale(lr)), scale)
        for lr in map(picture_tensor, find_pictures(folder, recursive=False))
    ]
    _page(rows, ("input", "bicubic", model), path, quality=90)


def before_after(small: Path, models: Sequence[str], path: Path) -> None:
    """The README's picture: bicubic interpolation beside some models, from the middle."""
    large: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sr_cli", "upscale", "--precision", "fp32"]
        for model in models:
            out = Path(folder) / f"{model}.png"
            subprocess.run([*command, small, "--model", model, "-o", out], check=True)
            large.append(Image.open(out).convert("RGB"))
    picture = Image.open(small).convert("RGB")
    large.insert(0, picture.resize(large[0].size, Image.Resampling.BICUBIC))
    box = (210, 100, 630, 520)
    side = box[2] - box[0]
    page = Image.new("RGB", (len(large) * (side + GAP) - GAP, side), "white")
    for column, one in enumerate(large):
        page.paste(one.crop(box), (column * (side + GAP), 0))
    page.save(path, quality=88)


def _model(name: str) -> tuple[Upscale, int]:
    loaded = load(name)
    engine = torch_engine(loaded.network)

    def upscale(lr: torch.Tensor) -> torch.Tensor:
        rgb = engine.upscale(lr.permute(1, 2, 0).contiguous().numpy()).rgb
        return torch.from_numpy(rgb).permute(2, 0, 1)

    return upscale, loaded.scale


def _row(lr: torch.Tensor, large: Sequence[torch.Tensor], scale: int) -> list[Pixels]:
    """The middle of the input with plain pixels, and the same place of the others."""
    side = min(SIDE, *lr.shape[-2:])
    top, left = ((length - side) // 2 for length in lr.shape[-2:])
    plain = lr.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    rows = slice(top * scale, (top + side) * scale)
    columns = slice(left * scale, (left + side) * scale)
    cut = [picture[:, rows, columns] for picture in (plain, *large)]
    return [(x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().copy() for x in cut]


def _page(
    rows: Sequence[Sequence[Pixels]], captions: Sequence[str], path: Path, *, quality: int
) -> None:
    side = max(cell.shape[0] for row in rows for cell in row)
    width = len(captions) * (side + GAP) - GAP
    page = Image.new("RGB", (width, CAPTION + len(rows) * (side + GAP) - GAP), "white")
    draw = ImageDraw.Draw(page)
    for column, caption in enumerate(captions):
        draw.text((column * (side + GAP) + 2, 2), caption, fill="black")
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            place = (column * (side + GAP), CAPTION + number * (side + GAP))
            page.paste(Image.fromarray(cell), place)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=quality, optimize=True)
