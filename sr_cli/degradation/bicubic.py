"""Antialiased bicubic resizing by MATLAB's definition (a = -0.5), which the field reports with."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor


def _cubic(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _matrix(length: int, scale: Fraction) -> Tensor:
    """``(ceil(length * scale), length)`` in float64: rows of weights, edges mirrored."""
    out = math.ceil(length * scale)
    # Shrinking widens the kernel by the inverse factor: that is the antialiasing.
    shrink = min(float(scale), 1.0)
    width = 4 / shrink
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) / float(scale) - 0.5
    first = torch.floor(centre - width / 2).long()
    taps = first[:, None] + torch.arange(math.ceil(width) + 2)
    weights = _cubic((centre[:, None] - taps) * shrink)
    weights = weights / weights.sum(1, keepdim=True)
    period = torch.remainder(taps, 2 * length)
    mirrored = torch.where(period < length, period, 2 * length - 1 - period)
    matrix = torch.zeros(out, length, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, weights)


def imresize(picture: Tensor, scale: Fraction | int) -> Tensor:
    """Resize like MATLAB's ``imresize(picture, scale, 'bicubic')``.

    Args:
        picture: ``(..., H, W)``, any range.
        scale: Factor; ``Fraction(1, 4)`` to shrink four times.

    Returns:
        ``(..., ceil(H*scale), ceil(W*scale))``, not clamped.
    """
    scale = Fraction(scale)
    rows = _matrix(picture.shape[-2], scale).to(picture)
    columns = _matrix(picture.shape[-1], scale).to(picture)
    return rows @ picture @ columns.T
