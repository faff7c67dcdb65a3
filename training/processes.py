"""One process or many: who am I, and what do we all know.

`accelerate`'s state finds the other processes that `torchrun` or `accelerate launch` has started
and joins them (NCCL on GPUs, gloo on CPUs).  Its wrapping of the network is not used: with a few
million parameters one averaging of all gradients behind the backward pass costs next to nothing,
and it works whatever a step computes, be it several passes through one network or two networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn


class Processes:
    """All processes of a run, seen from one of them.

    Args:
        device: Wanted; of several processes on GPUs each gets its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._state = PartialState(cpu=device.type == "cpu")
        self.count = int(self._state.num_processes)
        self.index = int(self._state.process_index)
        self.device: torch.device = device if self.count == 1 else self._state.device
        if self.device.type == "cuda" and self.device.index is not None:
            # Streams, graphs and events that are made without a device are made on this one.
            torch.cuda.set_device(self.device)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.index == 0

    def share(self, batch: int, parts: int = 1) -> slice:
        """This process's part of a batch that all have drawn.

        Args:
            batch: Its size.
            parts: In which it is computed, one after the other (``accumulate``).

        Raises:
            ValueError: The batch cannot be divided evenly.
        """
        if batch % (self.count * parts):
            among = f"{self.count} processes" + (f" in {parts} parts each" if parts > 1 else "")
            raise ValueError(
                f"A batch of {batch} cannot be divided among {among}. Change it with"
                " --set phase.N.batch=..."
            )
        each = batch // self.count
        return slice(self.index * each, (self.index + 1) * each)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make every process's gradients the mean of all."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        for gradient, mean in zip(gradients, self._means(gradients), strict=True):
            gradient.copy_(mean)

    def means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars, averaged over all processes."""
        if self.count == 1:
            return terms
        return dict(zip(terms, self._means(list(terms.values())), strict=True))

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; all of them must ask."""
        if self.count == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        return bool(reduce(flag, "sum") > 0)

    def wait(self) -> None:
        """Go on when all have come here."""
        self._state.wait_for_everyone()

    @staticmethod
    def _means(tensors: Sequence[Tensor]) -> list[Tensor]:
        flat = reduce(torch.cat([t.detach().flatten() for t in tensors]), "mean")
        pieces = flat.split([t.numel() for t in tensors])
        return [piece.view_as(t) for piece, t in zip(pieces, tensors, strict=True)]
