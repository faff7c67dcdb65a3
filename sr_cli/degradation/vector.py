"""From parameters in units to the numbers that networks learn, for whole batches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sr_cli.degradation.layout import Layout


def to_vector(layout: Layout, values: Mapping[str, Tensor]) -> Tensor:
    """Normalise a batch of drawn parameters; `Layout.encode` for one picture's plain numbers.

    Args:
        layout: What the numbers are and in which order.
        values: By ``stage.name``, each ``(N,)`` in units.

    Returns:
        ``(N, len(layout))`` float32.
    """
    columns: list[Tensor] = []
    for p in layout.parameters:
        value = values[p.key].float()
        number = (value - p.low) / (p.high - p.low)
        if p.alternative is not None:
            flag, low, high = p.alternative
            unset = values[f"{p.stage}.{flag}"] < 0.5
            number = torch.where(unset, (value - low) / (high - low), number)
        columns.append(number)
    return torch.stack(columns, 1)
