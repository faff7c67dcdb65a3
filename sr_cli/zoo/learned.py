"""Degradations that were learned (PDM): from files that training leaves, or published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_cli.networks import pdm
from sr_cli.zoo import weights
from sr_cli.zoo.loading import plausible
from sr_cli.zoo.manifest import ZooError

NETWORK = "PDM"
"""What the header of such a file calls it."""


def load_learned(path: Path) -> pdm.PDM:
    """A learned degradation, ready to degrade.

    Args:
        path: ``degradation.safetensors`` of a run, or a published checkpoint of a degradation.

    Raises:
        ZooError: It cannot be read, its header makes no sense, or it is of something else.
    """
    state, header = weights.read(path)
    options = _options(state)
    if options is None:
        state = pdm.convert_published(state)
        options = _options(state)
    if options is None:
        raise ZooError(f"{path} holds no learned degradation, as a run of a recipe pdm-* leaves.")
    if header.get("network") == NETWORK:  # which says what the weights do not tell
        told = weights.told_options(header, path)
        if not all(_plausible(key, value) for key, value in told.items()):
            raise weights.senseless(path)
        options |= told
    try:
        with torch.device("meta"):  # without memory, so that a lying header costs nothing
            pdm.PDM(**options).load_state_dict(state, assign=True)
        network = pdm.PDM(**options)
        network.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        reason = " ".join(str(error).splitlines()[:2])
        raise ZooError(f"{path} holds no learned degradation that fits: {reason}") from None
    return network.eval()


def _options(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """As `pdm.detect`, for any tensors: sizes that no PDM has are another network's."""
    try:
        return pdm.detect(state)
    except (LookupError, ValueError, ArithmeticError):
        return None


def _plausible(key: str, value: object) -> bool:
    """As `plausible`, of a PDM: no numbers make no noise, and no weights contradict a scale."""
    if key == "noise_numbers" and value == 0:
        return True
    return plausible(key, value) and (key != "scale" or isinstance(value, int))
