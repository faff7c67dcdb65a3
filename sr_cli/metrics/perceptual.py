"""``lpips-squeeze``: the learned perceptual distance on SqueezeNet 1.1 features.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (LPIPS v0.1).
The super-resolution papers report LPIPS on AlexNet; the two must not stand in one column.
The weights are not part of this package: see `PerceptualDistance`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FEATURES_FILE = "squeezenet1_1.safetensors"
HEADS_FILE = "lpips_v0.1_squeeze_heads.safetensors"

_BGR_MEAN = (104.0, 117.0, 123.0)
_STAGES: tuple[tuple[str | int, ...], ...] = (
    ("conv",),
    ("pool", 3, 4),
    ("pool", 6, 7),
    ("pool", 9),
    (10,),
    (11,),
    (12,),
)
"""Layers between the seven features that are compared; numbers are Fire modules."""


class PerceptualDistance:
    """LPIPS with SqueezeNet 1.1, lower is closer.

    Args:
        folder: Holds `FEATURES_FILE` (keys as torchvision's ``squeezenet1_1``, for BGR input of
            0..255 less the ImageNet mean) and `HEADS_FILE` (LPIPS v0.1's linear heads).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or of another network.
    """

    def __init__(self, folder: Path) -> None:
        try:
            features = load_file(folder / FEATURES_FILE)
            heads = load_file(folder / HEADS_FILE)
            self.weights = {key: value.float() for key, value in features.items()}
            self.heads = [heads[f"lin{i}.model.1.weight"].float() for i in range(len(_STAGES))]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{folder} must hold {FEATURES_FILE} and {HEADS_FILE}."
            ) from None
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"The feature files in {folder} cannot be used: {error}.") from None

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distances ``(N,)`` of pictures ``(N, 3, H, W)``, RGB in [0, 1], sides at least 32."""
        total = torch.zeros(len(sr))
        pairs = zip(self._features(sr), self._features(hr), self.heads, strict=True)
        for a, b, head in pairs:
            difference = (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square()
            total += F.conv2d(difference, head).mean((1, 2, 3))
        return total

    def _features(self, picture: Tensor) -> list[Tensor]:
        mean = torch.tensor(_BGR_MEAN).view(1, 3, 1, 1)
        x = picture.float().clamp(0, 1).flip(1) * 255 - mean
        found: list[Tensor] = []
        for stage in _STAGES:
            for layer in stage:
                x = self._layer(layer, x)
            found.append(x)
        return found

    def _layer(self, layer: str | int, x: Tensor) -> Tensor:
        if layer == "pool":
            return F.max_pool2d(x, 3, 2, ceil_mode=True)
        if layer == "conv":
            return F.relu(self._convolve("features.0", x, stride=2))
        name = f"features.{layer}"
        squeezed = F.relu(self._convolve(f"{name}.squeeze", x))
        wide = self._convolve(f"{name}.expand3x3", squeezed, padding=1)
        narrow = self._convolve(f"{name}.expand1x1", squeezed)
        return F.relu(torch.cat((narrow, wide), 1))

    def _convolve(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
