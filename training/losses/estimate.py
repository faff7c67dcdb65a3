"""Losses of what a network says about the degradation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.degradations import Degrader
from training.schema import Loss


def label_deviation(model: Degrader, draws: int = 2048) -> Tensor:
    """Standard deviation of every number of the vector over the degradation model.

    Drawn with a fixed seed, one picture at a time, since resizes are drawn once a batch.
    Numbers that never vary get 1.

    Returns:
        ``(D,)`` float32.
    """
    generator = torch.Generator().manual_seed(0)
    vectors = torch.cat([model.vector(model.sample(1, generator)) for _ in range(draws)])
    deviation = vectors.std(0)
    return torch.where(deviation > 1e-6, deviation, 1.0)


class EstimateLoss:
    """Mean error of estimates, plain as published or of standardised numbers.

    Squared for RealDAN's vector, absolute for DANv1's code and DANv2's kernel.

    Args:
        options: The recipe's.
        deviation: ``(D,)`` to divide each number's error by, on the estimates' device, or None.
    """

    def __init__(self, options: Loss, deviation: Tensor | None = None) -> None:
        self.weight = options.vector
        self.error = F.mse_loss if options.error == "l2" else F.l1_loss
        self.deviation = deviation

    def __call__(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """A scalar, already weighted; both ``(N, D)``."""
        estimate = estimate.float()
        if self.deviation is not None:
            estimate, truth = estimate / self.deviation, truth / self.deviation
        return self.weight * self.error(estimate, truth)
