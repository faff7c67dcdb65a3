"""A step's passes as one CUDA graph: recorded once, then replayed by a single call.

DAN's step is some two thousand short kernels, and calling them one by one takes a processor about
as long as a large GPU takes to run them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor, nn

from training.pool import Pairs

Passes = Callable[[Pairs], dict[str, Tensor]]
"""From a batch to the terms of its loss, detached, with the gradients left in the parameters."""

REHEARSALS = 3
"""Passes before the recording, in which cuDNN looks for its algorithms."""


class Captured:
    """The passes of one phase, recorded on a first batch; later batches must have its shape.

    The parameters must stay where they are in memory: they may be changed in place only.  Their
    gradients, too, are written to one place at every replay.

    Args:
        passes: What to record.  Nothing in it may make the device wait.
        parameters: Whose gradients it makes.
        pairs: A batch on a GPU.
    """

    def __init__(self, passes: Passes, parameters: list[nn.Parameter], pairs: Pairs) -> None:
        self.pairs = Pairs(**{f.name: getattr(pairs, f.name).clone() for f in fields(pairs)})
        current = torch.cuda.current_stream(pairs.lr.device)
        aside = torch.cuda.Stream(pairs.lr.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(REHEARSALS):
                _forget(parameters)
                passes(self.pairs)
        current.wait_stream(aside)
        _forget(parameters)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.terms = passes(self.pairs)

    def __call__(self, pairs: Pairs) -> dict[str, Tensor]:
        """Run the passes on another batch."""
        for item in fields(pairs):
            getattr(self.pairs, item.name).copy_(getattr(pairs, item.name))
        self.graph.replay()
        return {key: term.clone() for key, term in self.terms.items()}


def _forget(parameters: list[nn.Parameter]) -> None:
    """No gradients: the next passes back make new ones instead of adding to these."""
    for p in parameters:
        p.grad = None
