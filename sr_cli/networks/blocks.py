"""Blocks shared by the families: EDSR's, RRDB's, channel attention, sub-pixel upsampling."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
"""Negative slope of every LeakyReLU in the published DAN, EDSR and RRDB bodies."""
RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, taken off the input and put back on the output."""

BlockName = Literal["edsr", "rrdb"]
BLOCK_HALO: dict[BlockName, int] = {"edsr": 2, "rrdb": 15}
"""What a block sees to each side, pixels."""
SEGMENT_BLOCKS: dict[BlockName, int] = {"edsr": 4, "rrdb": 1}
"""Blocks that make one stage: fewer need a smaller halo, and more passes over the picture."""
UPSAMPLER_HALO = 3
"""Of an `upsampler` between two convolutions: at growing resolutions there are three at x2 and x3,
four at x4, five at x8."""


class EDSRBlock(nn.Module):
    """EDSR's residual block without normalisation: ``x + scale * conv(lrelu(conv(x)))``.

    Input and output are ``(N, features, H, W)``.
    """

    def __init__(self, features: int, slope: float = LEAK, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.act = nn.LeakyReLU(slope)
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.act(self.conv1(x)))
        return x + (residual if self.residual_scale == 1 else self.residual_scale * residual)


class ChannelAttention(nn.Module):
    """Weighs each channel by what all channels are on average over the picture (as in RCAN).

    Input and output are ``(N, features, H, W)``.

    Raises:
        ValueError: There are too few features to squeeze.
    """

    def __init__(self, features: int, reduction: int = 16, slope: float = 0.0) -> None:
        super().__init__()
        if features < reduction:
            raise ValueError(
                f"channel attention needs at least {reduction} features, and would get {features}"
            )
        self.squeeze = nn.Conv2d(features, features // reduction, 1)
        self.act = nn.LeakyReLU(slope)
        self.excite = nn.Conv2d(features // reduction, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(self.act(self.squeeze(mean))))


class DenseBlock(nn.Module):
    """Five densely connected convolutions (ESRGAN), scaled by 0.2 and added to the input."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)
        self.act = nn.LeakyReLU(LEAK)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.act(self.conv1(x))
        x2 = self.act(self.conv2(torch.cat((x, x1), 1)))
        x3 = self.act(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = self.act(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return x + 0.2 * x5


class RRDB(nn.Module):
    """Residual-in-residual dense block (ESRGAN): three dense blocks, scaled by 0.2 and added.

    Input and output are ``(N, features, H, W)``.
    """

    def __init__(self, features: int, growth: int = 32) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class Upsampler(nn.Sequential):
    """Convolutions, each with a `torch.nn.PixelShuffle` behind it; see `upsampler`."""

    def forward(self, x: Tensor) -> Tensor:
        # Elsewhere torch has a kernel for this order; on CUDA it puts the channels first and every
        # convolution puts them last again.
        if x.is_cuda and x.is_contiguous(memory_format=torch.channels_last):
            return self.channels_last(x)
        larger: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return larger

    def channels_last(self, x: Tensor) -> Tensor:
        """What `forward` does, with nothing moved but runs of ``features`` numbers.

        A pixel shuffle takes neighbouring channels to neighbouring pixels, number by number.  Here
        the convolution's filters are put in the order of the pixels first, so that what it makes
        for a pixel lies together already.
        """
        layers = list(self)
        for convolution, shuffle in zip(layers[::2], layers[1::2], strict=True):
            assert isinstance(convolution, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle)
            x = _enlarge(convolution, x, shuffle.upscale_factor)
        return x


def _enlarge(convolution: nn.Conv2d, x: Tensor, step: int) -> Tensor:
    """``(N, C, H, W)`` to ``(N, F, step*H, step*W)``, channels last."""
    assert convolution.bias is not None
    features = convolution.out_channels // step**2
    weight = convolution.weight.unflatten(0, (features, -1)).transpose(0, 1).flatten(0, 1)
    bias = convolution.bias.unflatten(0, (features, -1)).transpose(0, 1).flatten()
    made = F.conv2d(x, weight, bias, padding=convolution.padding).permute(0, 2, 3, 1)
    rows = made.unflatten(3, (step, step, features)).transpose(2, 3)  # N, H, step, W, step, F
    return rows.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def upsampler(features: int, scale: int) -> Upsampler:
    """Sub-pixel convolutions from ``(N, features, H, W)`` to ``(N, features, scale*H, scale*W)``.

    Powers of two are built from x2 steps and three is one step, as EDSR does.

    Raises:
        ValueError: ``scale`` is neither 3 nor a power of two.
    """
    if scale == 3:
        steps = [3]
    elif scale >= 1 and scale & (scale - 1) == 0:
        steps = [2] * (scale.bit_length() - 1)
    else:
        raise ValueError(f"scale must be 3 or a power of two, not {scale}")
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(features, features * step**2, 3, padding=1), nn.PixelShuffle(step)]
    return Upsampler(*layers)
