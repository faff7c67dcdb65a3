"""KernelDAN's degradation: an anisotropic, uneven Gaussian blur, then bicubic downsampling.

Sec. 4.1 of the RealDAN paper (blur kernels); ranges are the published option files'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from sr_cli.degradation import kernels
from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.layout import Layout, blur_layout
from sr_cli.degradation.operators import blur, quantise
from sr_cli.degradation.vector import to_vector

KERNEL_RADIUS = {2: 5, 4: 15}
"""Half width of the kernels by scale: 11x11 for x2, 31x31 for x4."""


@dataclass(frozen=True)
class Blur:
    """Parameters for a batch, in units, on the CPU."""

    sigma_x: Tensor
    """Pixels, down the rows at theta = 0."""
    sigma_y: Tensor
    theta: Tensor
    """Radians, 0 .. pi/2."""
    unevenness: Tensor
    """``(N, size, size)`` in [0, 1): how each weight of the kernel is disturbed; 0.5 leaves it."""

    def __len__(self) -> int:
        return len(self.theta)


class BlurModel:
    """Draws blurs and applies them; every parameter is drawn per picture.

    Args:
        scale: 2 or 4.

    Raises:
        KeyError: Another scale, for which nothing is published.
    """

    def __init__(self, scale: int = 4) -> None:
        self.scale = scale
        self.radius = KERNEL_RADIUS[scale]
        self.layout: Layout = blur_layout(self.radius)

    @property
    def kernel_size(self) -> int:
        """Side of the kernels."""
        return 2 * self.radius + 1

    def sample(self, batch: int, generator: torch.Generator) -> Blur:
        """Draw parameters for a batch from a CPU generator."""

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(batch, generator=generator)

        size = self.kernel_size
        ranges = {p.name: (p.low, p.high) for p in self.layout.parameters}
        sigma_x, sigma_y = uniform(*ranges["sigma_x"]), uniform(*ranges["sigma_y"])
        theta = uniform(0.0, math.pi / 2)
        return Blur(sigma_x, sigma_y, theta, torch.rand(batch, size, size, generator=generator))

    def kernels(self, degradation: Blur) -> Tensor:
        """The disturbed kernels ``(N, size, size)``."""
        one = torch.ones_like(degradation.theta)
        smooth = kernels.blur_kernels(
            kernels.GAUSSIAN * one,
            degradation.sigma_x,
            degradation.sigma_y,
            degradation.theta,
            beta=one,
            omega=one,
            radius=self.radius * one,
            size=self.kernel_size,
            squared_radius=True,
        )
        return kernels.disturb(smooth, degradation.unevenness)

    def vector(self, degradation: Blur) -> Tensor:
        """The ``(N, 8)`` normalised vector; only its first three numbers vary."""
        one = torch.ones_like(degradation.theta)
        values = {
            "stage1.sigma_x": degradation.sigma_x,
            "stage1.sigma_y": degradation.sigma_y,
            "stage1.theta": degradation.theta * (180 / math.pi),
            "stage1.beta": one,
            "stage1.is_gaussian": one,
            "stage1.radius": self.radius * one,
            "stage1.is_sinc": 0 * one,
            "stage1.omega": 0 * one,
        }
        return to_vector(self.layout, values)

    def apply(self, hr: Tensor, degradation: Blur) -> Tensor:
        """Blur, shrink and round to 8 bits.

        Args:
            hr: ``(N, 3, H, W)`` RGB in [0, 1], sides divisible by the scale and longer than the
                kernel's radius.
            degradation: Parameters of the same N.

        Returns:
            ``(N, 3, H/scale, W/scale)``.
        """
        blurred = blur(hr, self.kernels(degradation).to(hr))
        return quantise(imresize(blurred, Fraction(1, self.scale)))
