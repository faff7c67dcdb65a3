"""A step's passes as one CUDA graph: recorded once, then replayed by a single call.

DAN's step is some two thousand short kernels, and calling them one by one takes a processor about
as long as a large GPU takes to run them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from training.pool import Pairs
from training.tensors import mapped

Passes = Callable[[Pairs], dict[str, Tensor]]
"""From a batch to the terms of its loss, detached, with the gradients left in the parameters."""

REHEARSALS = 3
"""Passes before the recording, in which cuDNN looks for its algorithms."""


class Recorded:
    """Passes over what always lies in one place, to be gone through again and again.

    The parameters must stay where they are in memory: they may be changed in place only.  Their
    gradients, too, are written to one place at every replay.

    Args:
        passes: What to record.  Nothing in it may make the device wait.
        forget: Leaves no gradients, so that passes make new ones instead of adding to them.
        device: A GPU.
    """

    def __init__(
        self,
        passes: Callable[[], dict[str, Tensor]],
        forget: Callable[[], None],
        device: torch.device,
    ) -> None:
        # A graph records one stream and is empty if that is another device's, as the stream is that
        # it makes by itself wherever the device is not the current one.
        with torch.cuda.device(device):
            current = torch.cuda.current_stream(device)
            aside = torch.cuda.Stream(device)
            aside.wait_stream(current)
            with torch.cuda.stream(aside):
                for _ in range(REHEARSALS):
                    forget()
                    passes()
            current.wait_stream(aside)
            forget()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=aside):
                self.terms = passes()

    def __call__(self) -> dict[str, Tensor]:
        """Run the passes on what lies there now."""
        self.graph.replay()
        return {key: term.clone() for key, term in self.terms.items()}


class Captured:
    """The passes of one phase, recorded on a first batch; later batches must have its shape.

    Args:
        passes: What to record, see `Recorded`.
        forget: See there.
        pairs: A batch on a GPU.
    """

    def __init__(self, passes: Passes, forget: Callable[[], None], pairs: Pairs) -> None:
        self.pairs = mapped(pairs, Tensor.clone)
        self.recorded = Recorded(lambda: passes(self.pairs), forget, pairs.lr.device)

    def __call__(self, pairs: Pairs) -> dict[str, Tensor]:
        """Run the passes on another batch."""
        for item in fields(pairs):
            getattr(self.pairs, item.name).copy_(getattr(pairs, item.name))
        return self.recorded()
