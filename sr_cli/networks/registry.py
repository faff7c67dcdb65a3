"""From a network's name to its class, and from a state dict to the network that it belongs to.

Adding a network: write its file, then add one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sr_cli.networks import dan


@dataclass(frozen=True)
class Family:
    """What the rest of the house has to know of a network."""

    name: str
    """As written in manifests and headers."""
    build: Callable[..., dan.DAN]
    """Constructor, taking the options as keywords."""
    detect: Callable[[Mapping[str, Tensor]], dict[str, Any] | None]
    """Options deduced from a state dict in our names, or None if it is another network's."""
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Published key names to ours; ours pass unchanged."""


FAMILIES: tuple[Family, ...] = (Family("DAN", dan.DAN, dan.detect, dan.convert_published),)


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
        KeyError: No family has these keys.
    """
    for candidate in FAMILIES:
        converted = candidate.convert(state)
        options = candidate.detect(converted)
        if options is not None:
            return candidate, options, converted
    raise KeyError("no known network has these keys")
