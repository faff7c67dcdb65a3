"""Adam's moments, written and read back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def load_moments(optimiser: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Load an optimiser's state, each moment laid out in memory as its parameter is.

    The fused optimiser goes through both as if they were rows of numbers, so a moment in another
    layout would meet another weight's.
    """
    optimiser.load_state_dict(state)
    for parameter, entry in optimiser.state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entry[key] = torch.empty_like(parameter).copy_(value)


def half_moments(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with its moments as bfloat16, which loading turns back."""
    moments = {
        number: {key: value.bfloat16() if value.dim() else value for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}
