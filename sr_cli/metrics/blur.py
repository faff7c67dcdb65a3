"""How well a blur was estimated: kernel error and LR-PSNR (RealDAN, Table 4).

Both follow the script that is published with the paper's code: kernels are compared with their
peaks brought to one, and the LR pictures in luma without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.layout import Layout


def kernel_of(layout: Layout | None, vector: Tensor, size: int) -> Tensor | None:
    """The blur kernel that an estimate stands for.

    Args:
        layout: What the numbers are; None for a network whose numbers have no names.
        vector: As a network gives it: the numbers of the blur-only layout, or a whole kernel of
            ``size * size`` weights, row by row (DANv2).
        size: Side of the kernel, odd.

    Returns:
        ``(size, size)`` with a sum of one in float64, or None if the estimate is no kernel.
    """
    if layout is None:
        if vector.numel() != size * size:
            return None
        kernel = vector.double().view(size, size)
        return kernel / kernel.sum()
    if layout.name != "blur":
        return None
    values = layout.decode(vector.tolist())

    def number(key: str, low: float = -math.inf) -> Tensor:
        return torch.tensor([max(values[f"stage1.{key}"], low)], dtype=torch.float64)

    # An estimate may lie outside of what a kernel can be made of.
    sigma_x, sigma_y = number("sigma_x", 0.05), number("sigma_y", 0.05)
    theta = number("theta") * (math.pi / 180)
    distance = kernels.elliptic_distance(sigma_x, sigma_y, theta, size)
    kernel = torch.exp(-distance)[0]
    return kernel / kernel.sum()


def kernel_mse(estimate: Tensor, truth: Tensor) -> float:
    """Mean squared error of two kernels ``(size, size)`` whose peaks are brought to one."""
    estimate, truth = estimate.double(), truth.double()
    return float((estimate / estimate.max() - truth / truth.max()).square().mean())


def lr_psnr(again: Tensor, lr: Tensor) -> float:
    """PSNR in dB between a picture degraded anew with the estimate, and the one that was given.

    Args:
        again: ``(3, h, w)`` in [0, 1], not rounded.
        lr: The same shape.
    """
    error = (_plain_luma(again) - _plain_luma(lr)).square().mean()
    return float(10 * torch.log10(1 / error))


def _plain_luma(picture: Tensor) -> Tensor:
    """BT.601 luma as a fraction of 255."""
    weights: Sequence[float] = (65.481, 128.553, 24.966)
    column = torch.tensor(weights, dtype=torch.float64).view(3, 1, 1)
    return (16 + (picture.double() * column).sum(0)) / 255
