"""PSNR and SSIM as the super-resolution field computes them.

Pictures are RGB ``(..., 3, H, W)`` in [0, 1]; they are clamped and rounded to 8 bits first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (65.481, 128.553, 24.966)
"""BT.601 weights from RGB in [0, 1] to luma in 16..235."""


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
    """
    return _psnr(luma(sr, rounded=rounded), luma(hr, rounded=rounded), border)


def psnr_rgb(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    """As `psnr_y`, over the three channels together."""
    return _psnr(_levels(sr), _levels(hr), border)


def ssim_y(sr: Tensor, hr: Tensor, border: int, *, rounded: bool = True) -> Tensor:
    """Structural similarity of the Y channel, one a picture.

    11x11 Gaussian window of sigma 1.5, valid region, C1 = (0.01*255)^2, C2 = (0.03*255)^2.
    Arguments as `psnr_y`; sides must be at least ``11 + 2 * border``.
    """
    return _ssim(luma(sr, rounded=rounded), luma(hr, rounded=rounded), border)


def ssim_rgb(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    """As `ssim_y`, the mean over the three channels."""
    return _ssim(_levels(sr), _levels(hr), border)


def _levels(picture: Tensor) -> Tensor:
    return picture.double().clamp(0, 1).mul(255).round()


def _inner(picture: Tensor, border: int) -> Tensor:
    height, width = picture.shape[-2:]
    return picture[..., border : height - border, border : width - border]


def _psnr(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    error = (_inner(sr, border) - _inner(hr, border)).square().flatten(1).mean(1)
    return 10 * torch.log10(255**2 / error)


def _ssim(sr: Tensor, hr: Tensor, border: int) -> Tensor:
    a, b = _inner(sr, border), _inner(hr, border)
    channels = a.shape[1]
    axis = torch.arange(11, dtype=torch.float64, device=a.device) - 5
    window = torch.exp(-axis.square() / (2 * 1.5**2))
    window = (window / window.sum()).view(1, 1, 11, 1).repeat(channels, 1, 1, 1)

    def smooth(x: Tensor) -> Tensor:
        x = F.conv2d(x, window, groups=channels)
        return F.conv2d(x, window.transpose(2, 3), groups=channels)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = smooth(a), smooth(b)
    variance_a = smooth(a * a) - mean_a.square()
    variance_b = smooth(b * b) - mean_b.square()
    covariance = smooth(a * b) - mean_a * mean_b
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    similarity = structure * (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return similarity.flatten(1).mean(1)
