"""A discriminator, which learns beside the network that it judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.optimisers import load_moments, take_step

Measure = Callable[[Tensor, bool], Tensor]
"""How far judgements are from those of real pictures, or of made ones."""


def cross_entropy(judgements: Tensor, real: bool) -> Tensor:
    """Of logits: the usual GAN's, RealDAN's."""
    logits = judgements.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def squares(judgements: Tensor, real: bool) -> Tensor:
    """Mean squared distance from 1 or 0: LSGAN's, PDM's."""
    return (judgements.float() - float(real)).square().mean()


class Adversary:
    """Says of every pixel or patch how real it looks.

    Args:
        discriminator: On the device; from ``(N, 3, H, W)`` in [0, 1] to judgements of any shape.
        weight: Of its opinion in the network's loss.
        learning_rate: Set anew at every step.
        betas: Of its Adam.
        mean: Subtracted from all pictures before it sees them.  What gives a made picture away is
            faint beside brightness, in bfloat16 most of all.
        measure: Of its judgements.
        halved: Whether its losses on real and made pictures are averaged, not added.
        clip: Largest norm of its gradient; 0 for no limit.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float,
        learning_rate: float,
        betas: tuple[float, float],
        mean: float = 0.0,
        measure: Measure = cross_entropy,
        *,
        halved: bool = False,
        clip: float = 0.0,
    ) -> None:
        self.discriminator = discriminator
        self.weight = weight
        self.mean = mean
        self.measure = measure
        self.share = 0.5 if halved else 1.0
        self.clip = clip
        self.optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=learning_rate, betas=betas, fused=True
        )

    def opinion(self, made: Tensor) -> Tensor:
        """The network's term, already weighted: how far from real its pictures look."""
        self.discriminator.requires_grad_(False)
        return self.weight * self.measure(self._judged(made), True)

    def _judged(self, pictures: Tensor) -> Tensor:
        judgements: Tensor = self.discriminator(pictures - self.mean if self.mean else pictures)
        return judgements

    def forget(self) -> None:
        """Leave no gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def passes(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Forward and back over made and real pictures.

        Args:
            batches: The network's pictures (detached) and real ones, in equal parts.

        Returns:
            Its loss, to be logged.
        """
        self.discriminator.requires_grad_(True)
        total: list[Tensor] = []
        for made, real in batches:
            loss = self.measure(self._judged(real), True)
            loss = loss + self.measure(self._judged(made), False)
            loss = self.share * loss / len(batches)
            loss.backward()
            total.append(loss.detach())
        return torch.stack(total).sum()

    def step(self, rate: float, average: Callable[[Iterable[nn.Parameter]], None]) -> None:
        """Learn from what the passes have found.

        Args:
            rate: Learning rate.
            average: Makes gradients the mean of all processes.
        """
        take_step(self.optimiser, rate, average, self.clip)

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.discriminator.load_state_dict(state["discriminator"])
        load_moments(self.optimiser, state["optimiser"])
