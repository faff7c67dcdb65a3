"""How a run is run, which decides nothing of what it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says beside recipe, data and device."""

    half: bool = True
    """Compute in bfloat16 where that is safe."""
    compiled: bool = False
    """Let `torch.compile` rewrite parts of the network (`training.compiling`)."""
    captured: bool = True
    """On a GPU, replay a step's passes as one graph (`training.capture`)."""
    curves: bool = False
    """Write curves for TensorBoard."""
    weights: str | Path | None = None
    """What to start from instead of fresh weights, as of `training.initial.build_network`."""
    time_budget: float = math.inf
    """Seconds after which to stop."""
    last_step: int | None = None
    """Step behind which to stop, if that is before the recipe's end."""
    finish: bool = False
    """Branch off into the decay while the time budget still allows for all of it."""
