"""Variants of a network that show what a part of it is worth."""

from __future__ import annotations

import copy

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


class Told(SuperResolver):
    """A DAN whose Restorer is told a degradation instead of an estimate.

    Every d_i is the degradation head of one vector; no Estimator runs.  At first that is the vector
    which the network starts from, the same for every picture: nothing is known then.  `tell` tells
    it the truth (RealDAN, Table 5).  The head was trained on the one vector, so what a Restorer
    does with another that it is told is not what it could do had it learned with such.
    """

    single_precision = tuple(f"network.{name}" for name in DAN.single_precision)

    def __init__(self, network: DAN) -> None:
        super().__init__()
        self.network = network
        self.scale = network.scale
        self.vector: Tensor
        start = network.initial_degradation.detach().clone()
        self.register_buffer("vector", start, persistent=False)

    def __deepcopy__(self, memo: dict[int, object]) -> Told:
        """A copy, as half precision takes one, is told what this one is."""
        copied = Told(copy.deepcopy(self.network, memo))
        copied.vector = self.vector
        return copied.train(self.training)

    def tell(self, truth: Tensor) -> None:
        """From here on the truth is ``(size,)``, normalised."""
        self.vector.copy_(truth.view_as(self.vector))

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `SuperResolver`; the estimate is what the tail makes of what it was told."""
        degradation = self.network.degradation_head(self.vector)
        estimate = self.network.degradation_tail(degradation).flatten(1)
        return self.network.restore(lr, self.vector.flatten(1)), estimate.expand(len(lr), -1)

    def stages(self) -> tuple[Stage, ...]:
        """The network's own, without what estimates."""
        stages: list[Stage] = []
        for stage in self.network.stages():
            if stage.kind == "mean":
                continue
            if stage.kind == "vector" and stage.output != DEGRADATION:
                stage = Stage(
                    stage.output, (), lambda: self.network.degradation_head(self.vector), "vector"
                )
            stages.append(stage)
        return tuple(stages)
