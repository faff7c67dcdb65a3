"""Bundled networks stay near a picture on drawings, which no photograph has prepared them for.

An unrolled loop can run away: each iteration makes more of what the last one overdid.  On lines
and frames on plain ground that shows first, and on long ones before short ones: a network may be
sane on a frame of 120 pixels and not on one of 240.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import manifest

BOUNDS = {"two-stage": (-0.5, 1.5), "blur": (-1.2, 2.5)}
"""Lowest and highest value of the unclipped result, by what a model is for.  Sharp edges overshoot
where a model takes them for blurred ones."""
BUNDLED = [model.name for model in manifest().values() if model.weights and model.weights.bundled]


SIDE = 72


def frame(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((12, 12, 60, 60), outline="black")


def thick_frame(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((12, 12, 60, 60), outline="black", width=2)


def large_frame(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((20, 20, 220, 220), outline="black")


def wide_frame(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((20, 20, 460, 60), outline="black")


def line(draw: ImageDraw.ImageDraw) -> None:
    draw.line((36, 3, 36, 69), fill="black")


def chart(draw: ImageDraw.ImageDraw) -> None:
    draw.line((8, 4, 8, 64, 68, 64), fill="black")
    draw.line([(8 + 6 * i, 58 - 37 * i % 50) for i in range(10)], fill=(220, 30, 30), width=2)
    draw.line([(8 + 6 * i, 40 - 17 * i % 30) for i in range(10)], fill=(30, 60, 220))


def window(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((2, 2, 69, 69), outline=(90, 90, 90))
    draw.rectangle((2, 2, 69, 16), fill=(40, 90, 200))
    for row in range(3):
        draw.rectangle((6, 22 + 16 * row, 14, 30 + 16 * row), outline="black")
        draw.text((18, 20 + 16 * row), "Option", fill="black")


DRAWINGS = (frame, thick_frame, line, chart, window)
LARGE = {large_frame: (240, 240), wide_frame: (480, 80)}


def drawn(drawing: Callable[[ImageDraw.ImageDraw], None]) -> torch.Tensor:
    """``(1, 3, H, W)`` in [0, 1], on white."""
    image = Image.new("RGB", LARGE.get(drawing, (SIDE, SIDE)), "white")
    drawing(ImageDraw.Draw(image))
    pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 255)
    return pixels.permute(2, 0, 1).unsqueeze(0)


@pytest.mark.parametrize("name", BUNDLED)
def test_drawings_do_not_run_away(name: str) -> None:
    network = load(name).network
    found = {}
    for drawing in (*DRAWINGS, *LARGE):
        with torch.inference_mode():
            sr, _ = network(drawn(drawing))
        found[drawing.__name__] = float(sr.min()), float(sr.max())
    lowest, highest = BOUNDS[manifest()[name].degradation or ""]
    away = {k: (low, high) for k, (low, high) in found.items() if low < lowest or high > highest}
    assert not away, away
