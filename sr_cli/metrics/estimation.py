"""How well a degradation vector was estimated, number by number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sr_cli.degradation.layout import Layout, Parameter


@dataclass(frozen=True)
class Skill:
    """What an Estimator knows about one number of the vector."""

    key: str
    """``stage.name``."""
    correlation: float
    """Pearson's, between estimate and truth where the number applies; 0 if undefined."""
    error: float
    """Mean absolute error in units where the number applies; for a flag, of its 0..1 score."""
    auc: float | None
    """For a flag: the chance that a picture with it scores above one without; else None."""
    count: int
    """Pictures on which the number applied."""


def correlation(estimate: Tensor, truth: Tensor) -> float:
    """Pearson's correlation of two ``(N,)`` tensors; 0 if either is constant."""
    a, b = estimate.double() - estimate.double().mean(), truth.double() - truth.double().mean()
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 0 else 0.0


def auc(score: Tensor, truth: Tensor) -> float | None:
    """Area under the ROC curve of ``(N,)`` scores for ``(N,)`` flags; None if all flags agree."""
    has = truth >= 0.5
    positive = int(has.sum())
    negative = len(has) - positive
    if not positive or not negative:
        return None
    # By Mann and Whitney: ranks from 1, those that are equal at their mean.
    _, place, counts = score.double().unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts.double() - 1) / 2
    above = float(ranks[place][has].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def skills(layout: Layout, estimate: Tensor, truth: Tensor) -> tuple[Skill, ...]:
    """The skill of every number of a layout.

    Args:
        layout: What the numbers are.
        estimate: ``(N, len(layout))`` normalised, from a network.
        truth: The same shape, as drawn.
    """
    rows = truth.tolist()
    applicable = torch.tensor([layout.applicable(row) for row in rows])
    spans = torch.tensor([[high - low for low, high in layout.ranges(row)] for row in rows])
    found = []
    for p in layout.parameters:
        there = applicable[:, p.index]
        columns = (tensor[there, p.index] for tensor in (estimate, truth, spans))
        found.append(_skill(p, *columns))
    return tuple(found)


def _skill(parameter: Parameter, estimate: Tensor, truth: Tensor, span: Tensor) -> Skill:
    return Skill(
        key=parameter.key,
        correlation=correlation(estimate, truth) if len(truth) > 1 else 0.0,
        error=float(((estimate - truth).abs() * span.to(truth)).mean()) if len(truth) else 0.0,
        auc=auc(estimate, truth) if parameter.is_flag else None,
        count=len(truth),
    )
