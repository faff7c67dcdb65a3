"""Tables where they are needed: made once for every device and precision, not at every call.

A copy to a GPU makes whoever asks for it wait until everything before it is done.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def constant(table: tuple[Any, ...], like: Tensor) -> Tensor:
    """The numbers of a table, on the device and in the precision of another tensor.

    What is handed out is shared by all who ask: it must not be changed.

    Args:
        table: Numbers, or tables of as many numbers each.
        like: Any tensor.
    """
    return _kept(table, like.dtype, like.device)


@functools.cache
def _kept(table: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # or it could not be used outside of it
        return torch.tensor(table, dtype=torch.float64).to(device, dtype)
