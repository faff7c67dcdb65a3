"""Muon for many small matrices: those of one shape are made orthogonal together."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, to rounding, in one product where that takes one a matrix.

    A DAN has some forty matrices of 64x576, each multiplied fifteen times a step; as one batch
    they take as many calls as one of them does alone.  Options and state are the parent's.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # a closure is of no use here
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[p.shape].append(p)
            for shape, matrices in alike.items():
                assert group["adjust_lr_fn"] == "match_rms_adamw"
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                update = orthogonal(torch.stack(self._ahead(group, matrices)), group)
                if group["weight_decay"]:
                    torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(update.to(matrices[0]).unbind()), alpha=-rate)

    def _ahead(self, group: dict[str, Any], matrices: list[Tensor]) -> list[Tensor]:
        """Updates the momenta; where they lead to from the gradients (Nesterov)."""
        gradients: list[Tensor] = []
        momenta: list[Tensor] = []
        self._init_group({"params": matrices}, [], gradients, momenta)
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        if not group["nesterov"]:
            return momenta
        return list(torch._foreach_lerp(gradients, momenta, group["momentum"]))


def orthogonal(matrices: Tensor, options: dict[str, Any]) -> Tensor:
    """The nearest matrices with orthogonal rows or columns, roughly, by Newton-Schulz iterations.

    Args:
        matrices: ``(N, rows, columns)``.
        options: A group's of `torch.optim.Muon`: ``ns_coefficients``, ``ns_steps``, ``eps``.

    Returns:
        The same shape, bfloat16.
    """
    a, b, c = options["ns_coefficients"]
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=options["eps"])
    for _ in range(options["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
