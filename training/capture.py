"""A step's passes as one CUDA graph: recorded once, then replayed by a single call.

DAN's step is some two thousand short kernels, and calling them one by one takes a processor about
as long as a large GPU takes to run them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from training.degradations import mapped
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
        forget: Leaves no gradients, so that passes make new ones instead of adding to them.
        pairs: A batch on a GPU.
    """

    def __init__(self, passes: Passes, forget: Callable[[], None], pairs: Pairs) -> None:
        self.pairs = mapped(pairs, Tensor.clone)
        current = torch.cuda.current_stream(pairs.lr.device)
        aside = torch.cuda.Stream(pairs.lr.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(REHEARSALS):
                forget()
                passes(self.pairs)
        current.wait_stream(aside)
        forget()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.terms = passes(self.pairs)

    def __call__(self, pairs: Pairs) -> dict[str, Tensor]:
        """Run the passes on another batch."""
        for item in fields(pairs):
            getattr(self.pairs, item.name).copy_(getattr(pairs, item.name))
        self.graph.replay()
        return {key: term.clone() for key, term in self.terms.items()}
