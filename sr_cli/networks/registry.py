"""From a network's name to its class, and from a state dict to the network that it belongs to.

Adding a network: write its file, with a `FAMILY` at its end.  Nothing else has to know.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sr_cli import networks
from sr_cli.networks.family import Family


def _families() -> Iterator[Family]:
    """Those of this folder's files that say that they are one."""
    for found in pkgutil.iter_modules(networks.__path__, f"{networks.__name__}."):
        if found.name != __name__:
            family = getattr(importlib.import_module(found.name), "FAMILY", None)
            if isinstance(family, Family):
                yield family


FAMILIES: tuple[Family, ...] = tuple(_families())


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        KeyError: There is none.
    """
    return {f.name: f for f in FAMILIES}[name]


def recognise(state: Mapping[str, Tensor]) -> tuple[Family, dict[str, Any], dict[str, Tensor]]:
    """Find the network that a state dict belongs to.

    Args:
        state: Published or our own key names, without wrappings.

    Returns:
        The family, its options and the state dict in our names.

    Raises:
        KeyError: No family has these keys; `nearest` says how far they are from one.
    """
    for candidate in FAMILIES:
        converted = candidate.convert(state)
        options = candidate.options(converted)
        if options is not None:
            return candidate, options, converted
    raise KeyError("no known network has these keys")


def nearest(state: Mapping[str, Tensor]) -> tuple[Family, list[str]]:
    """What a state dict that is not recognised looks most like.

    Args:
        state: Published or our own key names, without wrappings.

    Returns:
        A family, and those of its `needed` keys that are missing; where these are all of them, the
        state dict has nothing in common with any family.
    """
    missing = {f: [key for key in f.needed if key not in f.convert(state)] for f in FAMILIES}
    closest = min(FAMILIES, key=lambda f: len(missing[f]) / len(f.needed))
    return closest, missing[closest]
