"""What models do badly, on pictures that are made to show it.

    python docs/measure_flaws.py > docs/results/flaws.json

Smooth shades, on which a model may print a pattern that repeats with every pixel of the small
picture; lines of one pixel in full colours, of which it may take colour away; and small pictures of
a single colour, which it may change.  Bicubic interpolation stands beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from sr_cli.degradation.bicubic import imresize
from sr_cli.opening import OpenModel, open_model

Floats = NDArray[np.float32]
Enlarge = Callable[[Floats], Floats]

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (230, 25, 25),
    "green": (25, 230, 25),
    "blue": (25, 25, 230),
    "yellow": (230, 230, 25),
    "magenta": (230, 25, 230),
    "cyan": (25, 230, 230),
    "grey": (128, 128, 128),
}
SIDE = 48
"""Of the small pictures, pixels."""
FLAT_SIDES = (1, 2, 4, 8, 16)
EDGE = 16
"""Pixels of the large picture that count for nothing on each side."""


def _bicubic(scale: int) -> Enlarge:
    def enlarge(rgb: Floats) -> Floats:
        picture = torch.from_numpy(rgb).permute(2, 0, 1)
        return np.ascontiguousarray(imresize(picture, scale).permute(1, 2, 0).numpy())

    return enlarge


def _of(opened: OpenModel) -> Enlarge:
    return lambda rgb: opened.engine.upscale(rgb).rgb


def _unit(colour: tuple[int, int, int]) -> Floats:
    return np.array(colour, np.float32) / np.float32(255)


def _picture(colour: tuple[int, int, int]) -> Floats:
    return np.tile(_unit(colour), (SIDE, SIDE, 1))


def pattern(enlarge: Enlarge, colour: tuple[int, int, int], scale: int) -> float:
    """How deep a pattern is printed into a shade of a colour, levels from its valley to its top."""
    shade = _picture(colour) * np.linspace(0.7, 1.0, SIDE, dtype=np.float32)[:, None]
    off = (enlarge(shade) - _bicubic(scale)(shade))[EDGE:-EDGE, EDGE:-EDGE]
    rows, columns = (side // scale for side in off.shape[:2])
    phases = off.reshape(rows, scale, columns, scale, 3).mean((0, 2))
    return 255 * float(np.ptp(phases, axis=(0, 1)).max())


def line(
    enlarge: Enlarge, colour: tuple[int, int, int], ground: tuple[int, int, int], scale: int
) -> float:
    """Distance between the brightest and the darkest channel in the middle of a line, levels."""
    picture = _picture(ground)
    picture[SIDE // 2] = _unit(colour)
    middle = (SIDE // 2) * scale + scale // 2
    seen = enlarge(picture)[middle - 1 : middle + 1, EDGE:-EDGE].mean((0, 1))
    return 255 * float(np.ptp(seen))


def flat(enlarge: Enlarge, colour: tuple[int, int, int], side: int) -> float:
    """The largest error of a channel, levels."""
    small = _picture(colour)[:side, :side].copy()
    return 255 * float(np.abs(enlarge(small) - small[0, 0]).max())


def flaws(enlarge: Enlarge, scale: int) -> dict[str, object]:
    """Of one model."""
    full = {name: colour for name, colour in COLOURS.items() if name != "grey"}
    white, black = (255, 255, 255), (0, 0, 0)
    return {
        "pattern": {
            name: round(pattern(enlarge, colour, scale), 1) for name, colour in COLOURS.items()
        },
        "line": {
            name: [round(line(enlarge, colour, ground, scale)) for ground in (black, white)]
            for name, colour in full.items()
        },
        "flat": {
            str(side): round(max(flat(enlarge, colour, side) for colour in COLOURS.values()))
            for side in FLAT_SIDES
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    options = parser.parse_args()
    answer = {"bicubic": flaws(_bicubic(4), 4)}
    for name in options.model or ["dan-real-x4", "dan-real-gan-x4", "dan-blur-x4"]:
        opened = open_model(name, "cpu", "fp32")
        answer[name] = flaws(_of(opened), opened.scale)
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
