"""Degradations that were learned (PDM): from files that training leaves, or published ones."""

from __future__ import annotations

from pathlib import Path

from sr_cli.networks import pdm
from sr_cli.zoo import weights
from sr_cli.zoo.manifest import ZooError

NETWORK = "PDM"
"""What the header of such a file calls it."""


def load_learned(path: Path) -> pdm.PDM:
    """A learned degradation, ready to degrade.

    Args:
        path: ``degradation.safetensors`` of a run, or a published checkpoint of a degradation.

    Raises:
        ZooError: It cannot be read, or is of something else.
    """
    state, header = weights.read(path)
    options = pdm.detect(state)
    if options is None:
        state = pdm.convert_published(state)
        options = pdm.detect(state)
    if options is None:
        raise ZooError(f"{path} holds no learned degradation, as a run of a recipe pdm-* leaves.")
    try:
        if header.get("network") == NETWORK:  # which says what the weights do not tell
            options |= weights.told_options(header, path)
        network = pdm.PDM(**options)
        network.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).splitlines()[:2])
        raise ZooError(f"{path} holds no learned degradation that fits: {reason}") from None
    return network.eval()
