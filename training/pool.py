"""A pool of training pairs, so that one batch mixes many degradations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """A batch of training pairs."""

    lr: Tensor
    """``(N, 3, h, w)`` uint8: degraded pictures lie on 8-bit levels anyway."""
    hr: Tensor
    """``(N, 3, H, W)`` uint8."""
    truth: Tensor
    """``(N, D)`` float32, what is known of the degradation: vectors, kernels or nothing (D = 0)."""

    def __getitem__(self, index: Tensor | slice) -> Pairs:
        return Pairs(self.lr[index], self.hr[index], self.truth[index])

    def __len__(self) -> int:
        return len(self.truth)


class Pool:
    """Keeps pairs and gives random ones out.

    Resize factors are drawn once a batch, so a batch as it comes is too uniform to learn from;
    RealDAN mixes the last 256 pairs.  Every pair is given out ``reuse`` times on average, for
    machines on which degrading costs more than learning.  ``batches`` is how many are made at once.
    """

    def __init__(
        self,
        make: Callable[[], Pairs],
        size: int,
        batch: int,
        reuse: int,
        generator: torch.Generator,
        batches: int = 1,
    ) -> None:
        self.make = make
        self.size = max(size, batch * batches)
        self.batch = batch
        self.turns = reuse * batches
        """Batches given out before new pairs are made."""
        self.generator = generator
        self.pairs: Pairs | None = None
        self.given = 0

    def next(self) -> Pairs:
        """A batch of ``batch`` pairs, no pair twice."""
        if self.pairs is None:
            self._fill()
        elif self.given % self.turns == 0:
            self._replace(self.make())
        self.given += 1
        assert self.pairs is not None
        return self.pairs[self._some(self.batch)]

    def _fill(self) -> None:
        made: list[Pairs] = []
        while sum(len(p) for p in made) < self.size:
            made.append(self.make())
        self.pairs = Pairs(
            torch.cat([p.lr for p in made])[: self.size],
            torch.cat([p.hr for p in made])[: self.size],
            torch.cat([p.truth for p in made])[: self.size],
        )

    def _replace(self, new: Pairs) -> None:
        assert self.pairs is not None
        index = self._some(len(new))
        for kept, fresh in (
            (self.pairs.lr, new.lr),
            (self.pairs.hr, new.hr),
            (self.pairs.truth, new.truth),
        ):
            kept[index] = fresh

    def _some(self, count: int) -> Tensor:
        """Indices of that many pairs, on their device."""
        assert self.pairs is not None
        index = torch.randperm(self.size, generator=self.generator)[:count]
        device = self.pairs.lr.device
        if device.type == "cuda":
            return index.pin_memory().to(device, non_blocking=True)
        return index
