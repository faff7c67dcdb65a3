"""A pool of training pairs, so that one batch mixes many degradations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.tensors import send


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
    """Keeps pairs and gives random ones out, which new ones then replace.

    Resize factors are drawn once for many pictures, so a batch as it comes is too uniform to learn
    from; RealDAN mixes it with the pairs kept before.  A round gives out what is made in one go,
    ``batches`` batches, ``reuse`` times.  If that is 1, every pair is given out exactly once, as
    published; else that often on average, for machines on which degrading costs more than learning.
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
        self.batch = batch
        self.turns = reuse * batches
        """Batches of a round."""
        self.size = max(size, batch * self.turns)
        self.generator = generator
        self.pairs: Pairs | None = None
        self.order: Tensor | None = None
        """``(turns * batch,)`` which pairs this round gives out, on the CPU; none of them twice."""
        self.given = 0
        self._there: Tensor | None = None
        """`order` on the pairs' device."""

    def next(self) -> Pairs:
        """A batch of ``batch`` pairs, no pair twice."""
        turn = self.given % self.turns
        if self.pairs is None:
            self._fill()
        elif turn == 0:
            self._replace(self.make())
        if turn == 0:
            self._begin(None)
        self.given += 1
        assert self.pairs is not None
        return self.pairs[self._indices()[turn * self.batch : (turn + 1) * self.batch]]

    def load(self, pairs: Pairs, order: Tensor | None, given: int) -> None:
        """Go on from what a pool of the same size held.

        Args:
            pairs: All of them, on their device.
            order: Of the round under way; drawn anew if it is None or of other rounds than ours.
            given: Batches given out so far.
        """
        self.pairs, self.given = pairs, given
        fits = order is not None and len(order) == self.turns * self.batch
        self._begin(order if fits else None)

    def _fill(self) -> None:
        made: list[Pairs] = []
        while sum(len(p) for p in made) < self.size:
            made.append(self.make())
        self.pairs = Pairs(
            torch.cat([p.lr for p in made])[: self.size],
            torch.cat([p.hr for p in made])[: self.size],
            torch.cat([p.truth for p in made])[: self.size],
        )

    def _begin(self, order: Tensor | None) -> None:
        """Begin a round, or go on with one."""
        if order is None:
            order = torch.randperm(self.size, generator=self.generator)[: self.turns * self.batch]
        self.order, self._there = order, None

    def _replace(self, new: Pairs) -> None:
        """Put new pairs in the place of as many that were given out."""
        assert self.pairs is not None
        index = self._indices()[-len(new) :]
        for kept, fresh in (
            (self.pairs.lr, new.lr),
            (self.pairs.hr, new.hr),
            (self.pairs.truth, new.truth),
        ):
            kept[index] = fresh

    def _indices(self) -> Tensor:
        """`order` on the pairs' device, without waiting for it."""
        assert self.pairs is not None and self.order is not None
        if self._there is None:
            self._there = send(self.order, self.pairs.lr.device)
        return self._there
