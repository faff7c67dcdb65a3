"""Degrading a single picture: drawn with a seed, or as an estimate says."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from sr_cli.degradation.two_stage import TwoStage, TwoStageModel


def seed_for(name: str, seed: int) -> int:
    """A seed for one picture of a set, whatever else lies in the same folder."""
    return zlib.crc32(f"{seed}/{name}".encode())


def degrade_picture(
    model: TwoStageModel, hr: Tensor, seed: int, degradation: TwoStage | None = None
) -> tuple[Tensor, Tensor]:
    """Degrade one picture, computed on the CPU in float64 so that every machine agrees.

    Args:
        model: Draws and applies.
        hr: ``(3, H, W)`` RGB in [0, 1], sides divisible by the scale and at least 72.
        seed: For the parameters, unless given, and the noise.
        degradation: Parameters of one picture to apply instead of drawing them.

    Returns:
        The picture ``(3, H/scale, W/scale)`` float32 on 8-bit levels, and its vector ``(D,)``.
    """
    generator = torch.Generator().manual_seed(seed)
    if degradation is None:
        degradation = model.sample(1, generator)
    lr = model.apply(hr.double().unsqueeze(0), degradation, generator)
    return lr[0].float(), degradation.vector()[0]
