"""Blur, resize and noise as batched torch operators on any device.

Pictures are ``(N, C, H, W)``, RGB in [0, 1].
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ResizeMode = Literal["area", "bicubic", "bilinear"]
RESIZE_MODES: tuple[ResizeMode, ...] = ("area", "bicubic", "bilinear")

GREY_WEIGHTS = (0.2989, 0.587, 0.114)


def quantise(picture: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits."""
    return picture.clamp(0, 1).mul(255).round().div(255)


def blur(picture: Tensor, kernels: Tensor) -> Tensor:
    """Cross-correlate every picture with its own kernel, all channels alike, reflecting edges.

    Args:
        picture: ``(N, C, H, W)``; both sides longer than half the kernel.
        kernels: ``(N, size, size)``, size odd.

    Returns:
        ``(N, C, H, W)``.
    """
    height, width = picture.shape[-2:]
    pad = kernels.shape[-1] // 2
    padded = F.pad(picture, (pad, pad, pad, pad), mode="reflect")
    size = [_fast_length(length) for length in padded.shape[-2:]]
    # At 21x21 the Fourier domain is faster than a convolution on CPU and GPU alike.
    spectrum = torch.fft.rfft2(padded, size)
    spectrum *= torch.fft.rfft2(kernels.unsqueeze(1), size).conj()
    return torch.fft.irfft2(spectrum, size)[..., :height, :width]


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
    clean = quantise(picture)
    weights = clean.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)
    grey = quantise((clean * weights).sum(1, keepdim=True))
    clean = torch.where(is_grey.view(-1, 1, 1, 1), grey.expand_as(clean), clean)
    count = torch.pow(2.0, torch.log2(_distinct_values(clean)).ceil()).view(-1, 1, 1, 1)
    # A grey map is drawn once: its two other channels copy the first.
    noisy = torch.poisson(clean * count, generator=generator) / count
    noise = noisy - clean
    noise = torch.where(is_grey.view(-1, 1, 1, 1), noise[:, :1].expand_as(noise), noise)
    return noise * level.view(-1, 1, 1, 1)


def _normal(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, device=like.device, dtype=like.dtype, generator=generator)


def _distinct_values(picture: Tensor) -> Tensor:
    """How many of the 256 levels occur in each picture of a batch, without leaving the device."""
    levels = picture.flatten(1).mul(255).round().long()
    seen = torch.zeros(picture.shape[0], 256, device=picture.device, dtype=picture.dtype)
    return seen.scatter_(1, levels, 1.0).sum(1)
