"""The discriminator of a GAN, which learns beside the network that it judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.optimisers import load_moments


class Adversary:
    """RealDAN's: a U-Net that says of every pixel how real it looks, cross-entropy with logits.

    Args:
        discriminator: On the device; ``(N, 3, H, W)`` in [0, 1] to logits ``(N, 1, H, W)``.
        weight: Of its opinion in the network's loss.
        learning_rate: Set anew at every step.
        betas: Of its Adam.
        mean: Subtracted from all pictures before it sees them.  What gives a made picture away is
            faint beside brightness, in bfloat16 most of all.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float,
        learning_rate: float,
        betas: tuple[float, float],
        mean: float = 0.0,
    ) -> None:
        self.discriminator = discriminator
        self.weight = weight
        self.mean = mean
        self.optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=learning_rate, betas=betas, fused=True
        )

    def opinion(self, sr: Tensor) -> Tensor:
        """The network's term, already weighted: how far from real its pictures look."""
        self.discriminator.requires_grad_(False)
        return self.weight * _cross_entropy(self._judged(sr), real=True)

    def _judged(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(pictures - self.mean if self.mean else pictures)
        return logits

    def forget(self) -> None:
        """Leave no gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def passes(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Forward and back over real and made pictures, their losses added, not halved.

        Args:
            batches: The network's pictures (detached) and the true ones, in equal parts.

        Returns:
            Its loss, to be logged.
        """
        self.discriminator.requires_grad_(True)
        total: list[Tensor] = []
        for sr, hr in batches:
            loss = _cross_entropy(self._judged(hr), real=True)
            loss = (loss + _cross_entropy(self._judged(sr), real=False)) / len(batches)
            loss.backward()
            total.append(loss.detach())
        return {"discriminator": torch.stack(total).sum()}

    def step(self, rate: float, average: Callable[[Iterable[nn.Parameter]], None]) -> None:
        """Learn from what the passes have found.

        Args:
            rate: Learning rate.
            average: Makes gradients the mean of all processes.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        average(self.discriminator.parameters())
        self.optimiser.step()

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


def _cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
