"""PDM: a degradation learned from low-quality pictures without their originals.

A high-resolution picture is blurred with a random kernel, thinned out, and given random noise; the
networks that make kernel and noise from normal numbers learn against a discriminator, jointly with
a super-resolver that learns to undo what they do.  None of this is needed to super-resolve, so
nothing here is in the registry.

Paper: Luo et al., "Learning the Degradation Distribution for Blind Image Super-Resolution".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_cli.networks.blocks import LEAK
from sr_cli.networks.keys import Renames, count, has_all, rename

ROUNDING_TERMS = 5
"""Of the Fourier series that stands for rounding."""


class NormalisedBlock(nn.Module):
    """Residual block with one batch normalisation; ``(N, F, H, W)``."""

    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.norm(self.conv1(x))))


class Generator(nn.Module):
    """From normal numbers to something random, independently a pixel where `kernel` is 1.

    Args:
        inputs: Channels that enter.
        outputs: Channels that leave.
        features: Channels between.
        blocks: Residual blocks.
        kernel: Side of the convolutions but the last, which is 1x1 and zero at the start.
    """

    def __init__(self, inputs: int, outputs: int, features: int, blocks: int, kernel: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(inputs, features, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(features)
        self.body = nn.Sequential(*(NormalisedBlock(features, kernel) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, outputs, 1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, z: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        return self.tail(self.body(torch.relu(self.norm(self.head(z)))))


class KernelModule(nn.Module):
    """A random blur kernel, and the picture blurred with it and thinned out (Eq. 4 and 6).

    Args:
        scale: How much smaller the result is.
        size: Side of the kernel.
        numbers: Normal numbers that make one kernel.
        features: Channels of the generator.
        blocks: Residual blocks of the generator.
    """

    def __init__(self, scale: int, size: int, numbers: int, features: int, blocks: int) -> None:
        super().__init__()
        self.scale = scale
        self.size = size
        self.numbers = numbers
        self.generator = Generator(numbers, size**2, features, blocks, 1)
        assert self.generator.tail.bias is not None
        with torch.no_grad():
            self.generator.tail.bias[size**2 // 2] = 1

    def forward(self, hr: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Blur and thin out.

        Args:
            hr: ``(N, C, scale*H, scale*W)``, more than half a kernel each way.
            z: ``(N, numbers, 1, 1)`` normal numbers.

        Returns:
            The clean small picture ``(N, C, H, W)``, whose pixels lie on the upper left of each
            `scale` x `scale`, and the kernels ``(N, size, size)``, of sum one.
        """
        kernel = self.generator(z).softmax(1).view(-1, 1, self.size, self.size)
        padded = F.pad(hr, (self.size // 2,) * 4, mode="reflect")
        # One group of the convolution is one picture, whose channels take the batch's place.
        lr = F.conv2d(padded.transpose(0, 1), kernel, stride=self.scale, groups=hr.shape[0])
        return lr.transpose(0, 1), kernel[:, 0]


class NoiseModule(nn.Module):
    """Random noise that may depend on the picture (Eq. 7 and 10).

    Args:
        numbers: Normal numbers a pixel.
        outputs: Channels of the noise: 3, or 1 for grey noise.
        mix: Whether the generator sees the picture.
        spatial: Whether numbers are drawn anew for each pixel, and convolutions are 3x3; else one
            draw is used for the whole picture, and they are 1x1.
        features: Channels of the generator.
        blocks: Residual blocks of the generator.
    """

    def __init__(
        self, numbers: int, outputs: int, mix: bool, spatial: bool, features: int, blocks: int
    ) -> None:
        super().__init__()
        self.numbers = numbers
        self.mix = mix
        self.spatial = spatial
        inputs = numbers + (3 if mix else 0)
        self.generator = Generator(inputs, outputs, features, blocks, 3 if spatial else 1)

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:
        """Make noise.

        Args:
            lr: The clean picture ``(N, 3, H, W)``, through which nothing is learned.
            z: ``(N, numbers, H, W)`` normal numbers, or ``(N, numbers, 1, 1)``.

        Returns:
            What to add, ``(N, outputs, H, W)``.
        """
        z = z.expand(-1, -1, *lr.shape[2:])
        return self.generator(torch.cat((lr.detach(), z), 1) if self.mix else z)


class PDM(nn.Module):
    """The probabilistic degradation model (Sec. 3.3).

    Args:
        scale: How much smaller the result is.
        kernel_size: Side of the blur kernel.
        kernel_numbers: Normal numbers that make one kernel.
        kernel_blocks: Residual blocks of the kernel's generator.
        features: Channels of the kernel's generator.
        noise_numbers: Normal numbers that make noise, or 0 for a model without any.
        noise_outputs: Channels of the noise.
        noise_mix: Whether noise depends on the picture.
        noise_spatial: Whether noise varies over the picture by itself.
        noise_blocks: Residual blocks of the noise's generator.
        noise_features: Channels of the noise's generator.
    """

    def __init__(
        self,
        scale: int = 4,
        kernel_size: int = 21,
        kernel_numbers: int = 64,
        kernel_blocks: int = 16,
        features: int = 64,
        noise_numbers: int = 3,
        noise_outputs: int = 3,
        noise_mix: bool = True,
        noise_spatial: bool = False,
        noise_blocks: int = 16,
        noise_features: int = 64,
    ) -> None:
        super().__init__()
        self.kernel = KernelModule(scale, kernel_size, kernel_numbers, features, kernel_blocks)
        self.noise = (
            NoiseModule(
                noise_numbers,
                noise_outputs,
                noise_mix,
                noise_spatial,
                noise_features,
                noise_blocks,
            )
            if noise_numbers
            else None
        )

    def draw(self, hr: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Normal numbers for a batch, as `forward` wants them.

        Args:
            hr: The pictures that will be degraded.
            generator: On the pictures' device; the default one if there is none.

        Returns:
            Those of the kernel and those of the noise; without a noise module the latter are none.
        """

        def normal(numbers: int, height: int, width: int) -> Tensor:
            shape = hr.shape[0], numbers, height, width
            return torch.randn(shape, generator=generator, device=hr.device, dtype=hr.dtype)

        kernel = normal(self.kernel.numbers, 1, 1)
        if self.noise is None:
            return kernel, normal(0, 1, 1)
        small = [-(-side // self.kernel.scale) for side in hr.shape[2:]]
        return kernel, normal(self.noise.numbers, *(small if self.noise.spatial else (1, 1)))

    def forward(
        self, hr: Tensor, kernel_z: Tensor, noise_z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Degrade.

        Args:
            hr: ``(N, 3, scale*H, scale*W)`` RGB in [0, 1].
            kernel_z: Normal numbers of the kernel, see `draw`.
            noise_z: Those of the noise.

        Returns:
            The small picture ``(N, 3, H, W)``, neither clamped nor rounded (without noise, softly
            rounded to 1/255, so that it cannot be told by its fine steps), the kernels
            ``(N, size, size)``, and the noise that was added, if any.
        """
        lr, kernel = self.kernel(hr, kernel_z)
        if self.noise is None:
            return soft_round(255 * lr) / 255, kernel, None
        noise = self.noise(lr, noise_z)
        return lr + noise, kernel, noise

    @torch.no_grad()
    def degrade(
        self, hr: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pictures as files hold them, each degraded by a draw of its own.

        Args:
            hr: ``(N, 3, scale*H, scale*W)`` RGB in [0, 1].
            generator: See `draw`.

        Returns:
            The small pictures ``(N, 3, H, W)`` on 8-bit levels, and the kernels
            ``(N, size, size)``.
        """
        lr, kernels, _ = self(hr, *self.draw(hr, generator))
        return (lr.clamp(0, 1) * 255).round() / 255, kernels


def soft_round(x: Tensor) -> Tensor:
    """The first terms of rounding's Fourier series, which has a gradient everywhere."""
    waves = (
        (-1) ** k / (math.pi * k) * torch.sin(2 * math.pi * k * x)
        for k in range(1, ROUNDING_TERMS + 1)
    )
    return x + sum(waves)


class PatchGAN(nn.Module):
    """Discriminator that judges patches of a picture.

    Args:
        features: Channels behind the first convolution.
        stride: Of the second and third convolution: 2 where degradations are learned alone, 1 where
            a super-resolver learns with them; the weights are the same.
    """

    def __init__(self, features: int = 64, stride: int = 1) -> None:
        super().__init__()
        widths = [3, features, 2 * features, 4 * features, 8 * features, features]
        strides = [1, stride, stride, 1, 1]
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=step, padding=1)
            for inputs, outputs, step in zip(widths, widths[1:], strides, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, features, h, w)``: many judgements a patch.

        All but the first and the last convolution are followed by instance normalisation.
        """
        first, *middle, last = self.layers
        x = F.leaky_relu(first(x), LEAK)
        for layer in middle:
            x = F.leaky_relu(F.instance_norm(layer(x)), LEAK)
        return last(x)


NEEDED = ("kernel.generator.head.weight", "kernel.generator.tail.weight")
"""Keys by which a PDM is known."""
DISCRIMINATOR_NEEDED = tuple(f"layers.{i}.weight" for i in range(5))
"""Keys by which a PatchGAN is known."""

_BLOCK_PARTS = ((0, "conv1"), (1, "norm"), (3, "conv2"))
_DISCRIMINATOR_RENAMES: Renames = tuple(
    (rf"^model\.{theirs}\.", f"layers.{ours}.") for ours, theirs in enumerate((0, 2, 5, 8, 11))
)


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published degradation model (netDeg of UnpairedSR) to ours."""
    return rename(state, _generator_renames(state, "kernel") + _generator_renames(state, "noise"))


def _generator_renames(state: Mapping[str, Tensor], module: str) -> Renames:
    """Its layers are numbered: convolution, norm, ReLU, then the blocks, then the last one."""
    theirs, ours = rf"^deg_{module}\.deg_{module}\.", f"{module}.generator."
    last = count(state, theirs[1:] + r"(\d+)\.")
    blocks = tuple(
        (rf"{theirs}{block + 3}\.body\.{number}\.", f"{ours}body.{block}.{part}.")
        for block in range(last)
        for number, part in _BLOCK_PARTS
    )
    return (
        (rf"{theirs}0\.", f"{ours}head."),
        (rf"{theirs}1\.", f"{ours}norm."),
        *blocks,
        # The ReLU has a number and no keys.
        (rf"{theirs}{last}\.", f"{ours}tail."),
    )


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the PDM that a state dict in our names belongs to.

    Weights do not tell the scale, which is the published models' 4, nor whether a generator of
    noise sees the picture: six channels are taken as three numbers and the picture, as published.

    Returns:
        Keyword arguments for `PDM`, or None if the state dict is not a PDM's.
    """
    if not has_all(state, NEEDED):
        return None
    head, tail = state[NEEDED[0]], state[NEEDED[1]]
    options: dict[str, Any] = {
        "scale": 4,
        "kernel_size": math.isqrt(tail.shape[0]),
        "kernel_numbers": head.shape[1],
        "kernel_blocks": count(state, r"kernel\.generator\.body\.(\d+)\."),
        "features": head.shape[0],
    }
    if "noise.generator.head.weight" not in state:
        return options | {"noise_numbers": 0}
    head = state["noise.generator.head.weight"]
    mix = head.shape[1] == 6
    return options | {
        "noise_numbers": head.shape[1] - (3 if mix else 0),
        "noise_outputs": state["noise.generator.tail.weight"].shape[0],
        "noise_mix": mix,
        "noise_spatial": head.shape[2] > 1,
        "noise_blocks": count(state, r"noise\.generator\.body\.(\d+)\."),
        "noise_features": head.shape[0],
    }


def convert_published_discriminator(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a published PatchGAN discriminator to ours."""
    return rename(state, _DISCRIMINATOR_RENAMES)


def detect_discriminator(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Options of the PatchGAN that a state dict in our names belongs to.

    The stride leaves no trace in the weights: it is 1, as where a super-resolver learns as well.

    Returns:
        Keyword arguments for `PatchGAN`, or None if the state dict is not a PatchGAN's.
    """
    if not has_all(state, DISCRIMINATOR_NEEDED):
        return None
    return {"features": state["layers.0.weight"].shape[0], "stride": 1}
