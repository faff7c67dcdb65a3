"""The moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """A copy of a network that follows it, the first steps weighing more so that it forgets.

    `torch.optim.swa_utils.AveragedModel` does the same, but makes a GPU wait at every step for the
    number of steps.

    Args:
        network: Copied.
        decay: Weight of the past once the average has settled; 0 for a plain copy.
    """

    def __init__(self, network: N, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: N) -> None:
        """Take one step towards the network; buffers are copied."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 1.0
        torch._foreach_lerp_(
            list(self.network.parameters()),
            [p.detach() for p in network.parameters()],
            weight,
        )
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
        self.steps += 1
