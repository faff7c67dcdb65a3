"""Weights in eight bits: half the file of float16, and the same pictures (docs/design-notes.md).

Every row of a matrix, which is a filter of a convolution, becomes whole numbers from -127 to 127
and a factor of its own.  They are rounded so that filters and their kernels keep their sums, or
flat ground would come out a little brighter or darker.  What is small stays as it is: biases,
learned vectors, slopes.  In a file the factors lie beside their tensor, under its name and
`FACTORS`, and the header says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

HEADER = "eight_bits"
"""The header's string of a file with such tensors; its value is `VERSION`."""
VERSION = "1"
FACTORS = "::factors"
"""Behind a tensor's name, the name of its rows' factors.  No name in a state dict has a colon."""
SMALLEST = 4096
"""Numbers of a tensor that is worth it; with less a file hardly shrinks."""
LARGEST = 127


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its large tensors in eight bits.

    Args:
        state: Tensors of any type; a row is what lies along all but the first dimension.

    Returns:
        For each large tensor of floating-point numbers one of int8 and, with `FACTORS` behind the
        name, its rows' factors (float32, one a row).  The others are as they were.

    Raises:
        ValueError: Something is not finite; the message names it.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not (value.is_floating_point() and value.ndim > 1 and value.numel() >= SMALLEST):
            found[name] = value
            continue
        rows = value.detach().float().flatten(1)
        if not rows.isfinite().all():
            raise ValueError(f"'{name}' holds numbers that are not finite")
        factors = rows.abs().amax(1) / LARGEST
        # A row of zeros has no factor, and is none times any.
        whole = _rounded(rows / factors.where(factors > 0, 1)[:, None], value[0, 0].numel())
        found[name] = whole.clamp(-LARGEST, LARGEST).to(torch.int8).reshape(value.shape)
        found[name + FACTORS] = factors
    return found


def _rounded(rows: Tensor, kernel: int) -> Tensor:
    """Each number rounded up or down so that a row's sum is off by at most a half, and by little
    more the sum of each kernel, of that many numbers, in it.  Whole numbers stay.

    A picture's flat parts see only sums, and there the roundings of hundreds of numbers add up.
    """
    whole = rows.round()
    for length in (kernel, rows.shape[1]):
        off = (rows - whole).reshape(-1, length)
        missing = off.sum(1, keepdim=True).round()
        # The numbers that lost most are rounded up instead, or those that gained most down.
        rank = off.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        change = (rank < missing).float() - (rank >= length + missing).float()
        whole += change.reshape(whole.shape)
    return whole


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that a packed one stands for, equal to the bit on every machine.

    Args:
        state: As `packed` returns it.

    Returns:
        What was packed in float32, the other tensors in their own types.

    Raises:
        ValueError: Numbers and factors do not belong together; the message names the tensor.
    """
    found = {}
    for name, value in state.items():
        if name.endswith(FACTORS):
            if name.removesuffix(FACTORS) not in state:
                raise ValueError(f"'{name}' belongs to no tensor")
            continue
        factors = state.get(name + FACTORS)
        if factors is not None:
            fits = value.dtype is torch.int8 and value.ndim > 1 and factors.is_floating_point()
            if not fits or factors.shape != value.shape[:1]:
                raise ValueError(f"the factors of '{name}' are not those of its rows")
            value = value.float() * factors.float().reshape(-1, *[1] * (value.ndim - 1))
        found[name] = value
    return found
