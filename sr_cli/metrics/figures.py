"""What can be measured: the names of the figures, and how they are shown.

Who adds a figure adds its line here; means, tables, CSV, JSON and results.md take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """How one figure is shown."""

    heading: str
    """Its usual name, and behind a space its unit."""
    form: str
    """Its digits, as papers give them: a format specification of Python's."""
    option: str = ""
    """Of `sr-cli evaluate`, where it is measured only when asked for; files beside ``--data``."""
    missing: str = "equal to the truth"
    """What the pictures are that count in no mean of it."""


FIGURES: Mapping[str, Figure] = {
    "psnr_y": Figure("PSNR-Y dB", ".2f"),
    "ssim_y": Figure("SSIM-Y", ".4f"),
    "psnr_rgb": Figure("PSNR-RGB dB", ".2f", "--rgb"),
    "ssim_rgb": Figure("SSIM-RGB", ".4f", "--rgb"),
    "lpips_squeeze": Figure("lpips-squeeze", ".4f", "--features features"),
    "lpips_alex": Figure("lpips-alex", ".4f", "--lpips"),
    "niqe_own": Figure("niqe-own", ".2f", "--niqe", "flat, without a NIQE"),
    "kernel_mse": Figure("kernel MSE", ".2e"),
    "lr_psnr": Figure("LR-PSNR dB", ".2f"),
}
"""By their names in `--json` and CSV, in the order of columns."""
ALWAYS = {"paired": ("psnr_rgb", "ssim_rgb"), "no-reference": ("niqe_own",)}
"""Figures of options that a protocol measures anyway: PDM reports RGB on pictures as given, and
without truth NIQE is all there is."""


def formatted(key: str, value: float | None) -> str:
    """A figure with the digits that papers give it."""
    return "-" if value is None else f"{value:{FIGURES[key].form}}"
