"""What a method gains over another, picture by picture, and how sure that is.

Pictures differ far more from each other than methods do on one picture, so a difference of two
means says little by itself; the standard error of the differences says how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ByPicture = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""Figures by picture, by method and by name, as `sr_cli.metrics.evaluation.by_picture` gives them;
None where one is infinite."""


@dataclass(frozen=True)
class Gain:
    """A mean of differences."""

    mean: float
    """In the figure's unit; above zero where the figure is larger."""
    standard_error: float | None
    """Of the mean over pictures; None of a single picture."""
    pictures: int
    """That have both figures, and finite ones."""
    larger: int
    """Of these, on how many the figure is larger."""

    def __str__(self) -> str:
        uncertain = "" if self.standard_error is None else f" ± {self.standard_error:.2f}"
        return f"{self.mean:+.2f}{uncertain}"


def differences(
    pictures: ByPicture, method: str, over: str = "bicubic", figure: str = "psnr_y"
) -> dict[str, float]:
    """By picture, what a method has more of a figure than another.

    Pictures that lack either figure are left out, and so are those of which one is infinite.
    """
    found: dict[str, float] = {}
    for picture, methods in pictures.items():
        ours, theirs = (methods.get(name, {}).get(figure) for name in (method, over))
        if ours is not None and theirs is not None and math.isfinite(ours - theirs):
            found[picture] = ours - theirs
    return found


def gain(
    pictures: ByPicture, method: str, over: str = "bicubic", figure: str = "psnr_y"
) -> Gain | None:
    """The mean of `differences`; None if there are none."""
    values = list(differences(pictures, method, over, figure).values())
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    error = None
    if count > 1:
        spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        error = math.sqrt(spread / count)
    return Gain(mean, error, count, sum(value > 0 for value in values))
