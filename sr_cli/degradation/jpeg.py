"""JPEG as a batched torch operator, with 4:2:0 chroma and the standard tables of ITU-T T.81.

Two kinds: what the published training code computes, and what libjpeg does to a real file.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.constants import constant

# ITU-T T.81, tables K.1 and K.2.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _block_dct() -> tuple[tuple[float, ...], ...]:
    """The orthonormal two-dimensional DCT-II of an 8x8 block, as one 64x64 matrix.

    One large product is several times faster than two tiny ones a block.
    """
    k = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return tuple(tuple(row) for row in torch.kron(matrix, matrix).tolist())


_DCT = _block_dct()

Settle = Callable[[Tensor], Tensor]
"""What is done to numbers on the scale of levels, or of quantisation steps, before rounding."""


def _as_it_is(numbers: Tensor) -> Tensor:
    return numbers


def jpeg(picture: Tensor, quality: Tensor, *, physical: bool, settle: Settle = _as_it_is) -> Tensor:
    """Compress and decompress.

    Args:
        picture: ``(N, 3, H, W)`` RGB; clamped to [0, 1] first.
        quality: ``(N,)`` 1..100, rounded to whole numbers, if ``physical``; else below 100, where
            the steps of the unrounded tables are zero.
        physical: True: as libjpeg, with rounded tables and samples, edges repeated and smooth
            chroma upsampling, so that the quality means what it says on a file.  What differs are
            ties in averages of chroma and samples of it that are not rounded when enlarged: 44 to
            52 dB on photographs at qualities 30 to 95 against libjpeg's own.  False: the published
            code's: tables transposed and not rounded, edges padded with zeros, nearest chroma
            upsampling.
        settle: Numbers go through it before they are rounded: `sr_cli.degradation.repeatable` takes
            off bits in which processors differ.

    Returns:
        ``(N, 3, H, W)`` in [0, 1], on 8-bit levels if ``physical``.
    """
    height, width = picture.shape[-2:]
    bottom, right = -height % 16, -width % 16
    picture = picture.clamp(0, 1)
    padded = F.pad(picture, (0, right, 0, bottom), mode="replicate" if physical else "constant")
    luma, chroma = _to_ycc(padded, physical, settle)
    table_luma, table_chroma = tables(quality.to(picture), physical)
    luma = _code(luma, table_luma, physical, settle)
    chroma = _code(chroma, table_chroma, physical, settle)
    rgb = _to_rgb(luma, _upsample_chroma(chroma, physical))
    rgb = rgb[..., :height, :width].clamp(0, 255)
    return (settle(rgb).round_() if physical else rgb).div_(255)


def _to_ycc(rgb: Tensor, physical: bool, settle: Settle) -> tuple[Tensor, Tensor]:
    """RGB in [0, 1] to luma ``(N, 1, H, W)`` and chroma ``(N, 2, H/2, W/2)``: levels around 0."""
    ycc = _mix(rgb, 255 * constant(_TO_YCC, rgb))
    if physical:
        ycc = settle(ycc).round_()
    luma, chroma = ycc[:, :1].sub_(128), F.avg_pool2d(ycc[:, 1:], 2)
    return luma, chroma.round_() if physical else chroma


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Both back to RGB from 0 to 255."""
    ycc = torch.cat((luma.add_(128), chroma), 1)
    return _mix(ycc, constant(_TO_RGB, ycc))


def _mix(colours: Tensor, weights: Tensor) -> Tensor:
    """Other three channels of three: ``(N, 3, H, W)``, by ``(3, 3)``."""
    return (weights @ colours.flatten(2)).view_as(colours)


def _upsample_chroma(chroma: Tensor, physical: bool) -> Tensor:
    if not physical:
        return chroma.repeat_interleave(2, -2).repeat_interleave(2, -1)
    # Weights 3/4 and 1/4 of the nearest samples, as libjpeg's default ("fancy") upsampling.
    size = (2 * chroma.shape[-2], 2 * chroma.shape[-1])
    return F.interpolate(chroma, size, mode="bilinear", align_corners=False)


def tables(quality: Tensor, physical: bool) -> tuple[Tensor, Tensor]:
    """Quantisation tables ``(N, 8, 8)`` of luma and chroma for every quality."""
    luma, chroma = constant(_LUMA, quality), constant(_CHROMA, quality)
    quality = (quality.round() if physical else quality).view(-1, 1, 1)
    if not physical:
        factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        return factor * luma.T, factor * chroma.T
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    rounded = [((base * percent + 50) / 100).floor().clamp(1, 255) for base in (luma, chroma)]
    return rounded[0], rounded[1]


def _code(plane: Tensor, table: Tensor, physical: bool, settle: Settle) -> Tensor:
    """Through DCT, quantisation and back: ``(N, C, H, W)`` around 0, sides divisible by 8."""
    n, c, height, width = plane.shape
    dct = constant(_DCT, plane)
    blocks = plane.view(n, c, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = blocks.reshape(n, -1, 64) @ dct.T
    step = table.reshape(n, 1, 64)
    coefficients = settle(coefficients.div_(step)).round_().mul_(step)
    pixels = settle(coefficients @ dct)
    if physical:
        pixels = pixels.round_().clamp_(-128, 127)
    blocks = pixels.view(n, c, height // 8, width // 8, 8, 8)
    return blocks.transpose(3, 4).reshape(n, c, height, width)
