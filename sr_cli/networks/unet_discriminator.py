"""Real-ESRGAN's discriminator: a U-Net that judges every pixel, with spectral normalisation.

Used to train the adversarial DAN; nothing here is in the registry.

Paper: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
Data", Fig. 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from sr_cli.networks.blocks import LEAK
from sr_cli.networks.keys import Renames, has_all, rename


class UNetDiscriminator(nn.Module):
    """Three strided convolutions down, three up, each joined by addition.

    The spectral norm of every convolution but the first and the last is estimated with one power
    iteration a forward pass in training, and with what is stored in evaluation.

    Args:
        features: Channels of the first convolution; twice, four and eight times as many below.
    """

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.downs = nn.ModuleList(
            _normalised(features << level, features << level + 1, 4, 2) for level in range(3)
        )
        self.ups = nn.ModuleList(
            _normalised(features << level + 1, features << level, 3, 1) for level in (2, 1, 0)
        )
        self.refine = nn.ModuleList(_normalised(features, features, 3, 1) for _ in range(2))
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge.

        Args:
            x: ``(N, 3, H, W)`` RGB in [0, 1]; H and W are multiples of 8.

        Returns:
            Logits ``(N, 1, H, W)``, high for real pictures.
        """
        with parametrize.cached():
            # Out of autocast: singular vectors in bfloat16 say little.
            with torch.autocast(x.device.type, enabled=False):
                for layer in (*self.downs, *self.ups, *self.refine):
                    _ = layer.weight
            return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.head(x), LEAK)
        before = []
        for down in self.downs:
            before.append(x)
            x = F.leaky_relu(down(x), LEAK)
        for up in self.ups:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(up(x), LEAK) + before.pop()
        for layer in self.refine:
            x = F.leaky_relu(layer(x), LEAK)
        logits: Tensor = self.last(x)
        return logits


def _normalised(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False)
    return spectral_norm(layer)


NEEDED = ("head.weight", "downs.0.parametrizations.weight.original", "last.weight")
"""Keys by which a U-Net discriminator is known."""

_PARTS = (
    ("weight_orig", "parametrizations.weight.original"),
    ("weight_u", "parametrizations.weight.0._u"),
    ("weight_v", "parametrizations.weight.0._v"),
)
_LAYERS = ("downs.0", "downs.1", "downs.2", "ups.0", "ups.1", "ups.2", "refine.0", "refine.1")
_RENAMES: Renames = (
    (r"^conv0\.", "head."),
    (r"^conv9\.", "last."),
    *(
        (rf"^conv{number}\.{theirs}$", f"{layer}.{ours}")
        for number, layer in enumerate(_LAYERS, 1)
        for theirs, ours in _PARTS
    ),
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published Real-ESRGAN discriminator to ours."""
    return rename(state, _RENAMES)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the U-Net discriminator that a state dict in our names belongs to.

    Returns:
        Keyword arguments for `UNetDiscriminator`, or None if the state dict is not one's.
    """
    if not has_all(state, NEEDED):
        return None
    return {"features": state["head.weight"].shape[0]}
