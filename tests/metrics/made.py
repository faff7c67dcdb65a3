"""Pictures and data sets that the tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from sr_cli.metrics.squeezenet import COMPARED, FEATURES_FILE, HEADS_FILE, layers
from tests.conftest import scene


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """``(3, H, W)`` in [0, 1], on 8-bit levels, the same on every machine."""
    return as_tensor(patchwork(height, width, seed))


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def patchwork(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Flat rectangles, white and black among them, and a ramp: whole numbers only."""
    state = np.random.RandomState(seed)  # whose numbers never change between versions
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = (np.arange(width) * 255 // width)[None, :, None]
    for _ in range(25):
        top, left = state.randint(height), state.randint(width)
        tall, wide = state.randint(6, 60, 2)
        colour = state.choice([0, 255]) if state.randint(3) == 0 else state.randint(0, 256, 3)
        pixels[top : top + tall, left : left + wide] = colour
    return pixels


def save(path: Path, height: int = 48, width: int = 60, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(height, width, seed)).save(path)
    return path


def make_features(folder: Path) -> None:
    """SqueezeNet's features and LPIPS's heads with random weights."""
    generator = torch.Generator().manual_seed(0)
    features = {}
    for name, like in layers().state_dict().items():
        spread = (2 / like[0].numel()) ** 0.5 if name.endswith("weight") else 0  # keeps variances
        features[f"features.{name}"] = torch.randn(like.shape, generator=generator) * spread
    heads = {
        f"lin{number}.model.1.weight": torch.rand(1, channels, 1, 1, generator=generator)
        for number, channels in enumerate(COMPARED.values())
    }
    save_file(features, folder / FEATURES_FILE)
    save_file(heads, folder / HEADS_FILE)
