"""Blur, resize and noise as batched torch operators on any device.

Pictures are ``(N, C, H, W)``, RGB in [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.constants import constant

ResizeMode = Literal["area", "bicubic", "bilinear"]
RESIZE_MODES: tuple[ResizeMode, ...] = ("area", "bicubic", "bilinear")

GREY_WEIGHTS = (0.2989, 0.587, 0.114)


def quantise(picture: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits."""
    return _levels(picture).div_(255)


def _levels(picture: Tensor) -> Tensor:
    """The same as whole numbers from 0 to 255."""
    return picture.clamp(0, 1).mul_(255).round_()


def blur(picture: Tensor, kernels: Tensor) -> Tensor:
    """Cross-correlate every picture with its own kernel, all channels alike, reflecting edges.

    Args:
        picture: ``(N, C, H, W)``; both sides longer than half the kernel.
        kernels: ``(N, size, size)``, size odd.

    Returns:
        ``(N, C, H, W)``.
    """
    height, width = picture.shape[-2:]
    around = kernels.shape[-1] - 1
    size = [_fast_length(length + around) for length in (height, width)]
    padded = F.pad(
        picture, (*_edges(width, around, size[1]), *_edges(height, around, size[0])), mode="reflect"
    )
    # At 21x21 the Fourier domain is faster than a convolution on CPU and GPU alike.
    spectrum = torch.fft.rfft2(padded, size)
    spectrum *= torch.fft.rfft2(kernels.flip(1, 2).unsqueeze(1), size)
    return torch.fft.irfft2(spectrum, size)[..., around : around + height, around : around + width]


def _edges(length: int, around: int, size: int) -> tuple[int, int]:
    """Pixels to reflect at either end: half of ``around``, and at the far end what makes ``size``.

    What is more than half comes out as it may; to reflect it spares the transform a copy that has
    zeros there.
    """
    return around // 2, min(size - length - around // 2, length - 1)


def _fast_length(length: int) -> int:
    """The next length with no prime factor above five, for which the transform is fast."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def resize(picture: Tensor, size: tuple[int, int], mode: ResizeMode) -> Tensor:
    """Resize as the published code does: no antialiasing, pixel centres aligned."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    if mode == "area":
        return F.interpolate(picture, size, mode="area")
    return F.interpolate(picture, size, mode=mode, align_corners=False)


def gaussian_noise(
    picture: Tensor,
    sigma: Tensor,
    is_grey: Tensor,
    generator: torch.Generator | None = None,
    *,
    shared_grey: bool = False,
) -> Tensor:
    """Noise to add: white Gaussian, per channel or one map for all channels.

    Args:
        picture: ``(N, 3, H, W)``; only its shape is used.
        sigma: ``(N,)`` standard deviation on the 0..255 scale.
        is_grey: ``(N,)`` boolean.
        generator: Of the picture's device.
        shared_grey: One grey draw for the whole batch, scaled by each sigma, as published.

    Returns:
        ``(N, 3, H, W)``, to be added.
    """
    batch, _, height, width = picture.shape
    colour = _normal(picture, (batch, 3, height, width), generator)
    grey = _normal(picture, (1 if shared_grey else batch, 1, height, width), generator)
    unit = torch.where(is_grey.view(-1, 1, 1, 1), grey.expand_as(colour), colour)
    return unit * (sigma.view(-1, 1, 1, 1) / 255)


def poisson_noise(
    picture: Tensor, level: Tensor, is_grey: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Noise to add: Poisson, at the photon count that the published code gives a white pixel.

    The count is the number of distinct 8-bit values in the picture, rounded up to a power of two.
    So a picture of few values has far stronger noise than one of many, and one of a single value is
    black and white.

    Args:
        picture: ``(N, 3, H, W)`` in [0, 1].
        level: ``(N,)`` factor on the noise.
        is_grey: ``(N,)`` boolean: noise of the grey picture, added to all channels.
        generator: Of the picture's device.

    Returns:
        ``(N, 3, H, W)``, to be added.
    """
    grey_there, level = is_grey.view(-1, 1, 1, 1), level.view(-1, 1, 1, 1)
    levels = _levels(picture)
    weights = constant(GREY_WEIGHTS, levels).view(1, 3, 1, 1)
    grey = (levels / 255).mul_(weights).sum(1, keepdim=True).mul_(255).round_()
    levels = torch.where(grey_there, grey, levels)
    count = torch.pow(2.0, torch.log2(_distinct(levels)).ceil()).view(-1, 1, 1, 1)
    photons = torch.poisson(levels * (count / 255), generator=generator)
    noise = levels.mul_(-level / 255).addcmul_(photons, level / count)
    # A grey map is drawn once: its two other channels copy the first.
    return torch.where(grey_there, noise[:, :1], noise)


def _normal(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, device=like.device, dtype=like.dtype, generator=generator)


def _distinct(levels: Tensor) -> Tensor:
    """How many of the 256 levels occur in each picture of a batch, without leaving the device."""
    seen = levels.new_zeros(levels.shape[0], 256)
    return seen.scatter_(1, levels.flatten(1).long(), 1.0).sum(1)
