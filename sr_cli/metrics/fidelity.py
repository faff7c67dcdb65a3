"""PSNR and SSIM as the super-resolution field computes them.

Pictures are RGB ``(..., 3, H, W)`` in [0, 1]; they are clamped and rounded to 8 bits first.  All
sums run over bands of rows in float64, so that a picture of any size takes little more memory than
itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (65.481, 128.553, 24.966)
"""BT.601 weights from RGB in [0, 1] to luma in 16..235."""

WINDOW = 11
"""Side of SSIM's window: what is left within the border must not be smaller."""
BAND = 256
"""Rows that are compared at a time."""

Channels = Callable[[Tensor], Tensor]
"""From RGB in [0, 1] to the channels that are compared, on the 0..255 scale, in float64."""


def luma(picture: Tensor, *, rounded: bool = True) -> Tensor:
    """The Y channel of BT.601, 16..235.

    Args:
        picture: ``(..., 3, H, W)`` RGB in [0, 1].
        rounded: Round Y to whole numbers, as RealDAN's published figures do; DAN's and DSSR's do
            not.

    Returns:
        ``(..., 1, H, W)`` in float64.
    """
    levels = _levels(picture)
    weights = levels.new_tensor(_LUMA).view(3, 1, 1) / 255
    y = 16 + (levels * weights).sum(-3, keepdim=True)
    return y.round() if rounded else y


def psnr_y(sr: Tensor, hr: Tensor, border: int, *, rounded: bool = True) -> Tensor:
    """Peak signal-to-noise ratio of the Y channel in dB, one a picture.

    Args:
        sr: ``(N, 3, H, W)`` in [0, 1].
        hr: The truth, of the same shape.
        border: Pixels left out on each side.
        rounded: See `luma`.

    Raises:
        ValueError: The border leaves nothing.
    """
    return _psnr(sr, hr, border, _luma(rounded))


def psnr_rgb(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    """As `psnr_y`, over the three channels together."""
    return _psnr(sr, hr, border, _levels)


def ssim_y(sr: Tensor, hr: Tensor, border: int, *, rounded: bool = True) -> Tensor:
    """Structural similarity of the Y channel, one a picture.

    11x11 Gaussian window of sigma 1.5, valid region, C1 = (0.01*255)^2, C2 = (0.03*255)^2.
    Arguments as `psnr_y`.

    Raises:
        ValueError: A side is less than ``11 + 2 * border``.
    """
    return _ssim(sr, hr, border, _luma(rounded))


def ssim_rgb(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    """As `ssim_y`, the mean over the three channels."""
    return _ssim(sr, hr, border, _levels)


def _luma(rounded: bool) -> Channels:
    return lambda picture: luma(picture, rounded=rounded)


def _levels(picture: Tensor) -> Tensor:
    return picture.double().clamp(0, 1).mul(255).round()


def _band(picture: Tensor, border: int, top: int, bottom: int, channels: Channels) -> Tensor:
    """Rows of what lies within the border."""
    rows = picture[..., border + top : border + bottom, border : picture.shape[-1] - border]
    return channels(rows)


def _inner(picture: Tensor, border: int, least: int) -> tuple[int, int]:
    """Height and width within the border."""
    height, width = (side - 2 * border for side in picture.shape[-2:])
    if min(height, width) < least:
        raise ValueError(
            f"a picture of {picture.shape[-1]}x{picture.shape[-2]} is too small to be compared "
            f"within a border of {border}"
        )
    return height, width


def _psnr(sr: Tensor, hr: Tensor, border: int, channels: Channels) -> Tensor:
    height, width = _inner(hr, border, 1)
    total, count = hr.new_zeros(len(hr), dtype=torch.float64), 0
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        a, b = (_band(x, border, top, bottom, channels) for x in (sr, hr))
        total += (a - b).square().flatten(1).sum(1)
        count += a.shape[1] * (bottom - top) * width
    return 10 * torch.log10(255**2 / (total / count))


def _ssim(sr: Tensor, hr: Tensor, border: int, channels: Channels) -> Tensor:
    height, width = (side - (WINDOW - 1) for side in _inner(hr, border, WINDOW))
    total, count = hr.new_zeros(len(hr), dtype=torch.float64), 0
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        reach = bottom + WINDOW - 1
        a, b = (_band(x, border, top, reach, channels) for x in (sr, hr))
        total += _similarity(a, b).flatten(1).sum(1)
        count += a.shape[1] * (bottom - top) * width
    return total / count


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """The map of structural similarity, 10 pixels smaller than the pictures on each axis."""
    channels = a.shape[1]
    axis = torch.arange(WINDOW, dtype=torch.float64, device=a.device) - WINDOW // 2
    window = torch.exp(-axis.square() / (2 * 1.5**2))
    window = (window / window.sum()).view(1, 1, WINDOW, 1).repeat(channels, 1, 1, 1)

    def smooth(x: Tensor) -> Tensor:
        x = F.conv2d(x, window, groups=channels)
        return F.conv2d(x, window.transpose(2, 3), groups=channels)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = smooth(a), smooth(b)
    variance_a = smooth(a * a) - mean_a.square()
    variance_b = smooth(b * b) - mean_b.square()
    covariance = smooth(a * b) - mean_a * mean_b
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return structure * (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
