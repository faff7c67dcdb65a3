"""Losses, as terms that are logged one by one and summed."""

from __future__ import annotations

import torch
from torch import Tensor

from sr_cli.degradation.two_stage import TwoStageModel
from training.recipe import Loss


def label_deviation(model: TwoStageModel, draws: int = 2048) -> Tensor:
    """Standard deviation of every number of the vector over the degradation model.

    Drawn with a fixed seed, one picture at a time, since resizes are drawn once a batch.
    Numbers that never vary get 1.

    Returns:
        ``(D,)`` float32.
    """
    generator = torch.Generator().manual_seed(0)
    vectors = torch.cat([model.sample(1, generator).vector() for _ in range(draws)])
    deviation = vectors.std(0)
    return torch.where(deviation > 1e-6, deviation, 1.0)


class VectorLoss:
    """Mean squared error of degradation vectors, plain as published or standardised."""

    def __init__(self, options: Loss, deviation: Tensor) -> None:
        self.weight = options.vector
        self.deviation = deviation if options.standardised else torch.ones_like(deviation)

    def __call__(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """A scalar, already weighted; both ``(N, D)``."""
        error = (estimate.float() - truth) / self.deviation.to(truth)
        return self.weight * error.square().mean()
