"""What the families share in reading state dicts: renaming keys, and deducing options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

Renames = tuple[tuple[str, str], ...]
"""Pairs of a regular expression and its replacement, as of `re.sub`."""


def rename(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    """A state dict with other keys and the same tensors.

    Args:
        state: Any.
        renames: For each key the first that matches is applied; a key without one stays.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        for pattern, replacement in renames:
            key, found = re.subn(pattern, replacement, key)
            if found:
                break
        renamed[key] = tensor
    return renamed


def has_all(state: Mapping[str, Tensor], needed: Iterable[str]) -> bool:
    """Whether all of these keys are there."""
    return all(key in state for key in needed)


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers a pattern's group takes in the keys."""
    return len({found[1] for key in state if (found := re.match(pattern, key))})


def upsampler_scale(state: Mapping[str, Tensor], prefix: str, features: int) -> int:
    """Enlargement of the `sr_cli.networks.blocks.upsampler` called ``prefix``."""
    steps = [key for key in state if re.fullmatch(re.escape(prefix) + r"\.\d+\.weight", key)]
    return math.prod(math.isqrt(state[key].shape[0] // features) for key in steps)
