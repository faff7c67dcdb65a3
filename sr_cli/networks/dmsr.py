"""DMSR: noise and blur are estimated, and the estimates steer the first and the last layers.

A degradation extractor finds a map of the noise and the blur kernel (Table B.6).  The noise enters
the first convolution beside the picture (meta-denoise module), residual groups with channel
attention follow, and the enlarged picture is convolved with a kernel of its own at every pixel,
made from the picture and the blur kernel (meta-deblur module, Table B.7).

No implementation by its authors is public; this follows the tables, with 3x3 convolutions
throughout (Sec. 4.1) and, as in RCAN, a convolution that closes the residual groups and one that
closes all of them, which gives the paper's numbers of parameters.  Channel attention averages over
the whole picture in every block, so tiles of a picture cannot be processed alone.

Paper: Yang et al., "Degradation-Guided Meta-Restoration Network for Blind Super-Resolution".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_cli.networks.blocks import ChannelAttention, EDSRBlock
from sr_cli.networks.family import Family
from sr_cli.networks.keys import count, has_all
from sr_cli.networks.stages import SuperResolver


class DegradationExtractor(nn.Module):
    """From a picture to its noise and its blur kernel (Table B.6).

    Args:
        features: Channels.
        kernel_size: Side of the blur kernel.
    """

    def __init__(self, features: int, kernel_size: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(EDSRBlock(features, slope=0.0), EDSRBlock(features, slope=0.0))
        self.noise = nn.Conv2d(features, 3, 3, padding=1)
        self.blur = nn.Sequential(
            nn.Conv2d(features, 2 * features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * features, kernel_size**2, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            The noise that was added, ``(N, 3, H, W)`` on the picture's scale, and the blur kernel
            ``(N, kernel_size**2)``, row by row, of sum one.
        """
        feature = self.body(torch.relu(self.head(lr)))
        return self.noise(feature), self.blur(feature).mean((2, 3)).softmax(1)


class AttentionBlock(nn.Module):
    """RCAN's residual block with channel attention (RCAB); ``(N, F, H, W)``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.attention = ChannelAttention(features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(torch.relu(self.conv1(x))))


class ResidualGroup(nn.Module):
    """RCAN's residual group: blocks and a convolution, around which the input is added."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(features) for _ in range(blocks)))
        self.closing = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.closing(self.blocks(x))


class MetaDeblur(nn.Module):
    """A convolution whose kernel is made for every pixel (MBM, 2-0 to 2-3 and 0-4 of Table B.7).

    The kernels start as unit pulses, which leave the picture as it is.

    Args:
        kernel_size: Side of the blur kernel, and of the kernels that are made.
        code_size: Numbers that the blur kernel is reduced to.
    """

    def __init__(self, kernel_size: int, code_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.encoder = nn.Linear(kernel_size**2, code_size)
        self.weights = nn.Conv2d(3 + code_size, kernel_size**2, 3, padding=1)
        assert self.weights.bias is not None
        with torch.no_grad():
            self.weights.bias[kernel_size**2 // 2] += 1

    def set_encoder(self, encoder: Tensor) -> None:
        """Start from the principal components of kernels, as the paper does (Sec. 3.1).

        Args:
            encoder: ``(kernel_size**2, code_size)``.
        """
        with torch.no_grad():
            self.encoder.weight.copy_(encoder.T)
            self.encoder.bias.zero_()

    def forward(self, sr: Tensor, kernel: Tensor) -> Tensor:
        """``(N, 3, H, W)`` and ``(N, kernel_size**2)`` to ``(N, 3, H, W)``."""
        code = self.encoder(kernel)[..., None, None].expand(-1, -1, *sr.shape[2:])
        weights = self.weights(torch.cat((sr, code), 1))
        return convolve_each_pixel(sr, weights)


def convolve_each_pixel(x: Tensor, weights: Tensor) -> Tensor:
    """Cross-correlation with another kernel at every pixel, the same for all channels.

    Args:
        x: ``(N, C, H, W)``, taken as zero outside.
        weights: ``(N, k*k, H, W)``, each pixel's kernel row by row; k is odd.

    Returns:
        ``(N, C, H, W)``.
    """
    size = math.isqrt(weights.shape[1])
    height, width = x.shape[2:]
    padded = F.pad(x, (size // 2,) * 4)
    # Single precision, since half would lose much in so long a sum.
    result = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    # A tap at a time: all of them side by side would take k*k times the memory.
    for number, weight in enumerate(weights.split(1, 1)):
        top, left = divmod(number, size)
        result = result + weight * padded[..., top : top + height, left : left + width]
    return result.to(x.dtype)


class DMSR(SuperResolver):
    """The degradation extractor and the super-resolver that it steers.

    Args:
        scale: Enlargement, 2, 3 or 4, in one step.
        features: Channels throughout.
        groups: Residual groups.
        blocks: Blocks with channel attention in each.
        kernel_size: Side of the blur kernel.
        code_size: Numbers that the blur kernel is reduced to.
    """

    def __init__(
        self,
        scale: int = 4,
        features: int = 64,
        groups: int = 5,
        blocks: int = 20,
        kernel_size: int = 15,
        code_size: int = 15,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.extractor = DegradationExtractor(features, kernel_size)
        self.denoise = nn.Conv2d(6, features, 3, padding=1)
        self.head = nn.Conv2d(features, features, 3, padding=1)
        self.groups = nn.Sequential(*(ResidualGroup(features, blocks) for _ in range(groups)))
        self.closing = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = nn.Conv2d(features, features * scale**2, 3, padding=1)
        self.last = nn.Conv2d(features, 3, 3, padding=1)
        self.deblur = MetaDeblur(kernel_size, code_size)
        self.tail = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Super-resolve and describe.

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].

        Returns:
            The picture ``(N, 3, scale*H, scale*W)``, about [0, 1] and not clamped, and the blur
            kernel ``(N, kernel_size**2)``, row by row, of sum one.
        """
        noise, kernel = self.extractor(lr)
        return self.restore(lr, noise, kernel), kernel

    def restore(self, lr: Tensor, noise: Tensor, kernel: Tensor) -> Tensor:
        """Super-resolve knowing what was wrong (Table B.7).

        Args:
            lr: ``(N, 3, H, W)`` RGB in [0, 1].
            noise: ``(N, 3, H, W)``, as the extractor returns it.
            kernel: ``(N, kernel_size**2)``.

        Returns:
            ``(N, 3, scale*H, scale*W)``.
        """
        feature = self.head(self.denoise(torch.cat((lr, noise), 1)))
        feature = feature + self.closing(self.groups(feature))
        enlarged = torch.relu(F.pixel_shuffle(self.upsample(feature), self.scale))
        return self.tail(self.deblur(self.last(enlarged), kernel))


NEEDED = ("extractor.head.weight", "denoise.weight", "deblur.encoder.weight")
"""Keys by which a DMSR is known."""


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Nothing has been published: all keys stay."""
    return dict(state)


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the DMSR that a state dict in our names belongs to.

    Returns:
        Keyword arguments for `DMSR`, or None if the state dict is not a DMSR's.
    """
    if not has_all(state, NEEDED):
        return None
    features = state["denoise.weight"].shape[0]
    code_size, kernel_numbers = state["deblur.encoder.weight"].shape
    return {
        "scale": math.isqrt(state["upsample.weight"].shape[0] // features),
        "features": features,
        "groups": count(state, r"groups\.(\d+)\."),
        "blocks": count(state, r"groups\.0\.blocks\.(\d+)\."),
        "kernel_size": math.isqrt(kernel_numbers),
        "code_size": code_size,
    }


FAMILY = Family("DMSR", DMSR, detect, convert_published, NEEDED, "kernel")
