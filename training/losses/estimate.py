"""Losses of what a network says about the degradation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.layout import Layout
from training.degradations import Degrader
from training.schema import Loss
from training.typed import RecipeError, did_you_mean


class Weighing:
    """What the errors of a vector's numbers count, made comparable over the degradation model.

    Every number's squared error is divided by its variance; those that never vary are left as they
    are.  A number that does not apply has a stand-in for its value: what an Estimator would have to
    tell of it is its flag once more, so that with ``loss.applying`` such errors are left out, and
    the others count for more in their place.

    Args:
        options: The recipe's.
        layout: What the numbers are.
        vectors: ``(N, D)`` that the degradation model draws.

    Raises:
        RecipeError: An emphasised number is none of the layout's.
    """

    def __init__(self, options: Loss, layout: Layout, vectors: Tensor) -> None:
        size = len(layout)
        index = {p.key: p.index for p in layout.parameters}
        self.needed, self.refused = torch.zeros(2, size, size)
        if options.applying:
            for p in layout.parameters:
                for flag, wanted in p.applies:
                    table = self.needed if wanted else self.refused
                    table[p.index, index[f"{p.stage}.{flag}"]] = 1.0
        counts = self.applies(vectors)
        total = counts.sum(0).clamp(min=1.0)
        mean = (counts * vectors).sum(0) / total
        deviation = ((counts * (vectors - mean) ** 2).sum(0) / total).sqrt()
        self.deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        self.factor = len(vectors) / total
        self.factor[_emphasised(options, layout)] *= options.emphasis

    def to(self, device: torch.device) -> Weighing:
        """The same object, its tensors on a device."""
        self.needed, self.refused = self.needed.to(device), self.refused.to(device)
        self.deviation, self.factor = self.deviation.to(device), self.factor.to(device)
        return self

    def applies(self, truth: Tensor) -> Tensor:
        """1 where a number of the vectors ``(N, D)`` counts, 0 where it does not; ``(N, D)``."""
        flags = (truth >= 0.5).float()
        misses = F.linear(1 - flags, self.needed) + F.linear(flags, self.refused)
        return (misses == 0).float()


def _emphasised(options: Loss, layout: Layout) -> list[int]:
    index = {p.key: p.index for p in layout.parameters}
    for key in options.emphasised:
        if key not in index:
            raise RecipeError(
                f"'loss.emphasised': a {layout.name} vector has no number '{key}'."
                + did_you_mean(key, index)
            )
    return [index[key] for key in options.emphasised]


def vector_weighing(model: Degrader, options: Loss, draws: int = 2048) -> Weighing:
    """The weighing of a degradation model's vectors, drawn with a fixed seed.

    They are drawn one picture at a time, since resizes are drawn once a batch.

    Raises:
        RecipeError: An emphasised number is none of the vector's.
    """
    assert model.layout is not None
    _emphasised(options, model.layout)  # what is wrong is told before seconds of drawing
    generator = torch.Generator().manual_seed(0)
    vectors = torch.cat([model.vector(model.sample(1, generator)) for _ in range(draws)])
    return Weighing(options, model.layout, vectors)


class EstimateLoss:
    """Mean error of estimates, plain as published or of weighed numbers.

    Squared for RealDAN's vector, absolute for DANv1's code and DANv2's kernel.

    Args:
        options: The recipe's.
        weighing: Of a vector's numbers, on the estimates' device, or None.
    """

    def __init__(self, options: Loss, weighing: Weighing | None = None) -> None:
        self.weight = options.vector
        self.error = F.mse_loss if options.error == "l2" else F.l1_loss
        self.weighing = weighing

    def __call__(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """A scalar, already weighted; both ``(N, D)``."""
        estimate = estimate.float()
        if self.weighing is None:
            return self.weight * self.error(estimate, truth)
        deviation = self.weighing.deviation
        errors = self.error(estimate / deviation, truth / deviation, reduction="none")
        return self.weight * (errors * self.weighing.factor * self.weighing.applies(truth)).mean()
