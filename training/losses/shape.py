"""The shape of an anisotropic blur, taught to DAN's degradation feature itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.layout import Layout
from training.degradations import Degrader

NUMBERS = ("stage1.sigma_x", "stage1.sigma_y", "stage1.theta")


class ShapeLoss:
    """Mean squared error of the blur's extent down, across and between them, standardised.

    The feature is an average over the picture, so what it learns first is what an average can
    tell: numbers to which every place adds its share.  How much more a picture is blurred down
    than across is such a number, but it has no correlation with any number of KernelDAN's vector
    (it says that theta is small if sigma_x is the larger one, and large if it is not), so the
    vector's loss alone leaves it out, and the Restorer never hears of it.  The symmetric matrix
    ``R diag(sigma_x, sigma_y) R^T`` has it on its diagonal, and is without the jump that theta
    makes at its range's ends.

    A fixed readout, three orthonormal directions, asks for the matrix after every iteration; it
    has nothing to learn and leaves with the training.  Later iterations find the angle with it:
    they meet the feature at every place, before the average.

    Args:
        weight: Of the mean over iterations and numbers.
        model: Of the degradation.
        features: Channels of the feature.
        device: Of the features; what is fixed is put there once, so that no step has to wait.

    Raises:
        ValueError: The degradation's vector has no sigma_x, sigma_y and theta of one blur, or there
            are fewer channels than these.
    """

    def __init__(self, weight: float, model: Degrader, features: int, device: torch.device) -> None:
        self.weight = weight
        layout = model.layout
        if layout is None or layout.name != "blur":
            raise ValueError("only the vectors of the degradation 'blur' tell one blur's shape")
        if features < len(NUMBERS):
            raise ValueError(f"'loss.shape' needs a network of at least {len(NUMBERS)} features")
        self.index, self.low, self.high = (places.to(device) for places in _places(layout))
        generator = torch.Generator().manual_seed(0)
        self.readout = torch.linalg.qr(torch.randn(features, 3, generator=generator)).Q.to(device)
        shapes = self.of(model.vector(model.sample(2048, generator)).to(device))
        self.mean, self.deviation = shapes.mean(0), shapes.std(0)

    def of(self, vector: Tensor) -> Tensor:
        """The matrix of vectors ``(N, D)``: down, across, between, in pixels ``(N, 3)``."""
        numbers = self.low + vector.index_select(1, self.index) * (self.high - self.low)
        sigma_x, sigma_y, degrees = numbers.unbind(1)
        cos, sin = torch.cos(degrees * math.pi / 180), torch.sin(degrees * math.pi / 180)
        down = sigma_x * cos**2 + sigma_y * sin**2
        across = sigma_x * sin**2 + sigma_y * cos**2
        return torch.stack((down, across, (sigma_y - sigma_x) * sin * cos), 1)

    def __call__(self, features: Sequence[Tensor], truth: Tensor) -> Tensor:
        """A scalar, already weighted.

        Args:
            features: ``(N, F, 1, 1)`` after every iteration.
            truth: The vectors ``(N, D)``.
        """
        wanted = (self.of(truth) - self.mean) / self.deviation
        errors = [F.mse_loss(f.float().flatten(1) @ self.readout, wanted) for f in features]
        return self.weight * torch.stack(errors).mean()


def _places(layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Where the three numbers are in a vector, and their ranges in their units."""
    found = {p.key: p for p in layout.parameters}
    wanted = [found[key] for key in NUMBERS]
    index = torch.tensor([p.index for p in wanted])
    low, high = (torch.tensor([getattr(p, end) for p in wanted]) for end in ("low", "high"))
    return index, low, high
