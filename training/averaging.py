"""The moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """A copy of a network that follows it: the mean of about the last third of its steps at first,
    of the last ``1 / (1 - decay)`` once these are fewer.

    Small batches need the length: dan-blur-x4 after 220 steps at T = 3 with 8 crops of 32x32 stood
    at +1.64 dB over bicubic, the mean of its last ninth at +1.75, of its last quarter at +1.77, of
    its last half at +1.78.

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
        self.follow(network)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)

    @torch.no_grad()
    def follow(self, network: N) -> None:
        """Take one step towards the network's weights; buffers stay what own passes have made."""
        weight = 1 - min(self.decay, (1 + self.steps) / (4 + self.steps))
        torch._foreach_lerp_(
            list(self.network.parameters()),
            [p.detach() for p in network.parameters()],
            weight,
        )
        self.steps += 1

    def begin(self) -> None:
        """Forget soon what was before: from here on the network is trained in another way."""
        self.steps = 0
