"""Variants of a network that show what a part of it is worth."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sr_cli.networks.dan import DAN
from sr_cli.networks.stages import DEGRADATION, Stage, SuperResolver


def with_iterations(network: SuperResolver, iterations: int) -> SuperResolver:
    """The same network, alternating another number of times (RealDAN, Table 7).

    It shares the weights.  The paper trained a tail for every number; here the one tail sees
    features that it was not trained for, so few iterations look worse than they have to.

    Raises:
        TypeError: The network does not alternate.
    """
    if not hasattr(network, "iterations"):
        raise TypeError("only networks that alternate have a number of iterations")
    variant = copy.copy(network)
    vars(variant)["iterations"] = iterations
    return variant


class TruthGiven(SuperResolver):
    """A DAN whose Restorer is given the true degradation instead of an estimate (Table 5).

    Every d_i is the degradation head of the true vector; no Estimator runs.
    """

    def __init__(self, network: DAN) -> None:
        super().__init__()
        self.network = network
        self.scale = network.scale
        size = network.initial_degradation.shape[1]
        self.truth: Tensor
        self.register_buffer("truth", torch.zeros(1, size, 1, 1), persistent=False)

    @contextmanager
    def told(self, truth: Tensor) -> Iterator[None]:
        """Within this, the truth is ``(size,)``, normalised."""
        self.truth.copy_(truth.view_as(self.truth))
        yield

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `SuperResolver`; the vector is what the tails make of the truth."""
        lr_feature, _ = self.network.head(lr)
        degradation = self.network.degradation_head(self.truth)
        sr_feature = lr_feature
        for _ in range(self.network.iterations):
            sr_feature = sr_feature + self.network.restorer(lr_feature, sr_feature, degradation)
        vector = self.network.degradation_tail(degradation).flatten(1)
        return self.network.tail(sr_feature), vector.expand(len(lr), -1)

    def stages(self) -> tuple[Stage, ...]:
        """The network's own, without what estimates."""
        stages: list[Stage] = []
        for stage in self.network.stages():
            if stage.kind == "mean":
                continue
            if stage.kind == "vector" and stage.output != DEGRADATION:
                stage = Stage(
                    stage.output, (), lambda: self.network.degradation_head(self.truth), "vector"
                )
            stages.append(stage)
        return tuple(stages)
